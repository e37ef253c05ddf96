//! `/proc/drbd` of DRBD 8.4 (`drivers/block/drbd/drbd_proc.c`, `drbd_seq_show`).
//!
//! ```text
//! version: 8.4.11 (api:1/proto:86-101)
//! srcversion: 211FB288A383ED945B83420
//!  0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----
//!     ns:18432 nr:0 dw:0 dr:20480 al:0 bm:0 lo:0 pe:1 ua:2 ap:0 ep:1 wo:f oos:507904
//!         [>....................] sync'ed:  3.9% (507904/526336)K
//!         finish: 0:00:27 speed: 18,432 (18,432) K/sec
//! ```
//! The first of the letters behind the protocol is `s` while all I/O is suspended.

use edgepair_status::{Drbd, Sync};
use pair_core::view::{Disk, Link, Role, View};

/// What the kernel says about one device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// For the pair core.
    pub view: View,
    /// For `status`, in the kernel's words.
    pub words: Drbd,
    /// The own disk has failed, and the kernel waits for its `local-io-error` handler before it gives the disk up.
    pub failing: bool,
}

impl Device {
    /// What the pair core is to see, where it saw `old` before. A disk that fails is gone when the handler has answered, not
    /// before: the pair core decides by what the disk was whether the record can be given away (`Asked::LocalIoError`), and
    /// the model's kernel changes its state with the answer.
    #[must_use]
    pub fn seen(&self, old: View) -> View {
        if self.failing { View { disk: old.disk, ..self.view } } else { self.view }
    }
}

/// Why the text was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTable {
    /// Not DRBD 8.4.
    #[error("this kernel's DRBD is {found}; edgepair needs version 8.4")]
    Version {
        /// The first line.
        found: String,
    },
    /// A word that no known version prints.
    #[error("/proc/drbd says {word:?} where {what} was expected")]
    Word {
        /// What was expected.
        what: &'static str,
        /// What was there.
        word: String,
    },
}

/// Reads what stands there about the device `minor`; `None` while it is not configured.
///
/// # Errors
/// [`BadTable`]. A state that is not understood is never guessed.
pub fn parse(text: &str, minor: u32) -> Result<Option<Device>, BadTable> {
    let version = text.lines().next().unwrap_or_default();
    if !version.starts_with("version: 8.4.") {
        return Err(BadTable::Version { found: version.chars().take(80).collect() });
    }
    let head = format!("{minor}: ");
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with(&head));
    let Some(line) = lines.next() else { return Ok(None) };
    let field = |key: &'static str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key));
        word.ok_or(BadTable::Word { what: key, word: line.chars().take(80).collect() })
    };
    let connection = field("cs:")?;
    if connection == "Unconfigured" {
        return Ok(None);
    }
    let pair = |key: &'static str| {
        let word = field(key)?;
        word.split_once('/').ok_or(BadTable::Word { what: key, word: word.to_owned() })
    };
    let (role, peer) = pair("ro:")?;
    let (disk, peer_disk) = pair("ds:")?;
    // The protocol's letter is a blank while no connection is configured, so the letters are the last word.
    let letters = line.split_whitespace().next_back().unwrap_or_default();
    let suspended = match letters.chars().next() {
        Some('s') => true,
        Some('r') => false,
        _ => return Err(BadTable::Word { what: "r or s and five more letters", word: letters.to_owned() }),
    };
    let rest: Vec<&str> = lines.take_while(|line| !is_head(line)).collect();
    let view = View {
        role: own_role(role)?,
        disk: disk_state(disk)?,
        link: link(connection)?,
        peer: peer_role(peer)?,
        peer_disk: disk_state(peer_disk)?,
        frozen: suspended,
    };
    let words = Drbd {
        role: role.to_owned(),
        // events2 and newer versions of DRBD have these two words for them.
        connection: match connection {
            "Connected" => "Established".to_owned(),
            "WFConnection" => "Connecting".to_owned(),
            other => other.to_owned(),
        },
        disk: disk.to_owned(),
        peer_disk: peer_disk.to_owned(),
        suspended,
        sync: progress(&rest),
    };
    Ok(Some(Device { view, words, failing: disk == "Failed" }))
}

fn is_head(line: &str) -> bool {
    let (number, rest) = line.trim_start().split_once(':').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(" cs:")
}

fn own_role(word: &str) -> Result<Role, BadTable> {
    peer_role(word)?.ok_or_else(|| BadTable::Word { what: "own role", word: word.to_owned() })
}

fn peer_role(word: &str) -> Result<Option<Role>, BadTable> {
    match word {
        "Primary" => Ok(Some(Role::Primary)),
        "Secondary" => Ok(Some(Role::Secondary)),
        "Unknown" => Ok(None),
        _ => Err(BadTable::Word { what: "a role", word: word.to_owned() }),
    }
}

/// The states in between are what they come from: nothing is granted because a disk is on its way.
fn disk_state(word: &str) -> Result<Disk, BadTable> {
    match word {
        "Diskless" | "Attaching" | "Failed" | "Negotiating" => Ok(Disk::Diskless),
        "Inconsistent" => Ok(Disk::Inconsistent),
        "Outdated" => Ok(Disk::Outdated),
        "DUnknown" => Ok(Disk::Unknown),
        "Consistent" => Ok(Disk::Consistent),
        "UpToDate" => Ok(Disk::UpToDate),
        _ => Err(BadTable::Word { what: "a state of a disk", word: word.to_owned() }),
    }
}

fn link(word: &str) -> Result<Link, BadTable> {
    match word {
        "StandAlone" => Ok(Link::StandAlone),
        "Disconnecting" | "Unconnected" | "Timeout" | "BrokenPipe" | "NetworkFailure" | "ProtocolError"
        | "TearDown" | "WFConnection" | "WFReportParams" => Ok(Link::Connecting),
        "Connected" | "VerifyS" | "VerifyT" => Ok(Link::Connected),
        "StartingSyncS" | "WFBitMapS" | "SyncSource" | "PausedSyncS" | "Ahead" => Ok(Link::SyncSource),
        "StartingSyncT" | "WFBitMapT" | "WFSyncUUID" | "SyncTarget" | "PausedSyncT" | "Behind" => {
            Ok(Link::SyncTarget)
        }
        _ => Err(BadTable::Word { what: "a state of a connection", word: word.to_owned() }),
    }
}

/// `sync'ed: 3.9%` and `finish: 0:00:27`; a verification is no resynchronisation.
fn progress(lines: &[&str]) -> Option<Sync> {
    let after = |key: &str| {
        let rest = lines.iter().find_map(|line| Some(line.split_once(key)?.1))?;
        rest.split_whitespace().next()
    };
    let percent: f64 = after("sync'ed:")?.trim_end_matches('%').parse().ok()?;
    let stalled = lines.iter().any(|line| line.contains("(stalled)"));
    let seconds = after("finish:").and_then(|time| {
        time.split(':').try_fold(0_u64, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))
    });
    let usable = percent.is_finite() && (0.0..=100.0).contains(&percent);
    usable.then_some(Sync { percent, seconds_left: seconds.filter(|_| !stalled) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SYNC: &str = include_str!("golden/proc-sync.txt");
    const ALONE: &str = include_str!("golden/proc-standalone.txt");
    const PAIRED: &str = include_str!("golden/proc-paired.txt");

    #[test]
    fn states_of_the_real_kernel() {
        let sync = parse(SYNC, 0).unwrap().unwrap();
        assert_eq!((sync.view.link, sync.view.peer_disk), (Link::SyncSource, Disk::Inconsistent));
        let progress = sync.words.sync.unwrap();
        assert!(progress.percent > 0.0 && progress.seconds_left.is_some(), "{progress:?}");
        let alone = parse(ALONE, 0).unwrap().unwrap().view;
        assert_eq!((alone.link, alone.peer, alone.frozen), (Link::StandAlone, None, false));
        assert_eq!(alone.peer_disk, Disk::Inconsistent, "known to be bad: that survives the connection");
        let paired = parse(PAIRED, 0).unwrap().unwrap();
        assert!(paired.view.healthy(), "{paired:?}");
        assert_eq!(paired.words.connection, "Established");
    }

    const HEAD: &str = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: 0\n";

    #[test]
    fn a_frozen_primary_and_devices_beside_it() {
        let text = format!(
            "{HEAD} 0: cs:WFConnection ro:Primary/Unknown ds:UpToDate/DUnknown C s-----\n    ns:0\n\n10: cs:Connected ro:Secondary/Secondary ds:UpToDate/UpToDate C r-----\n"
        );
        let first = parse(&text, 0).unwrap().unwrap().view;
        assert!(first.frozen && first.link == Link::Connecting && first.peer.is_none());
        assert!(parse(&text, 10).unwrap().unwrap().view.healthy());
        assert_eq!(parse(&text, 1), Ok(None), "1 is not 10");
        assert_eq!(parse(&format!("{HEAD} 0: cs:Unconfigured\n"), 0), Ok(None));
        assert_eq!(parse(HEAD, 0), Ok(None));
    }

    #[test]
    fn a_disk_that_fails_is_what_it_was_until_the_handler_has_answered() {
        let paired = parse(PAIRED, 0).unwrap().unwrap().view;
        let with = |disks: &str| {
            let line = format!("{HEAD} 0: cs:Connected ro:Secondary/Primary ds:{disks} C r-----\n");
            parse(&line, 0).unwrap().unwrap()
        };
        assert!(with("Failed/UpToDate").seen(paired).healthy());
        assert_eq!(with("Failed/UpToDate").seen(View::DOWN).disk, Disk::Diskless, "an attach that failed");
        assert_eq!(with("Diskless/UpToDate").seen(paired).disk, Disk::Diskless);
        assert_eq!(with("UpToDate/Failed").seen(paired).peer_disk, Disk::Diskless, "it has answered there");
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        assert!(matches!(parse("version: 9.2.1\n", 0), Err(BadTable::Version { .. })));
        for line in [
            " 0: cs:Dreaming ro:Primary/Unknown ds:UpToDate/DUnknown C r-----",
            " 0: cs:Connected ro:Primary ds:UpToDate/DUnknown C r-----",
            " 0: cs:Connected ro:Unknown/Primary ds:UpToDate/DUnknown C r-----",
            " 0: cs:Connected ro:Primary/Unknown ds:Fine/DUnknown C r-----",
            " 0: cs:Connected ro:Primary/Unknown ds:UpToDate/DUnknown C",
        ] {
            assert!(parse(&format!("{HEAD}{line}\n"), 0).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*", tail in "[ -~\n\t]*") {
            let _ = parse(&text, 0);
            let _ = parse(&format!("{HEAD} 0: {tail}"), 0);
            let _ = parse(&format!("{HEAD} 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n{tail}"), 0);
        }
    }
}

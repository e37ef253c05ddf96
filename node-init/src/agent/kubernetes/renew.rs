//! Certificates of k3s: renewed before they expire, without a technician.
//!
//! k3s renews its own certificates when it starts and less than 90 days of their year are left (k3s, "Certificate
//! Rotation"). A box that runs for years is never started, so it is started here: the node that is not active first, the
//! active one ten days later, while the other one answers. Pods go on meanwhile.

use crate::member::Place;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Seconds.
const DAY: i64 = 86_400;
/// k3s is started anew when fewer days are left: inside its own 90, with room for some failed attempts.
const STANDBY: i64 = 60 * DAY;
const ACTIVE: i64 = 50 * DAY;
/// With fewer it is not waited for the other node.
const URGENT: i64 = 10 * DAY;
/// So often k3s is started anew for one that has expired, in short order.
pub const ATTEMPTS: u32 = 2;
/// Between two looks at them; before there are any; between two starts for one that has expired.
const REGULAR: Duration = Duration::from_secs(6 * 3600);
const SOON: Duration = Duration::from_secs(60);
const EXPIRED: Duration = Duration::from_secs(10 * 60);
/// Where certificates are that k3s renews.
const FOLDERS: [&str; 2] = ["/var/lib/rancher/k3s/server/tls", "/var/lib/rancher/k3s/agent"];

/// Pure: is it time? `left`: seconds until the first certificate expires.
#[must_use]
pub fn due(left: i64, active: bool, other_answers: bool) -> bool {
    let limit = if active { ACTIVE } else { STANDBY };
    left < URGENT || left < limit && other_answers
}

/// Pure: is it time to look at what is on the disk? `since`: the last look. `left`: what it gave, by the clock of now.
#[must_use]
pub fn look(since: Option<Duration>, left: Option<i64>) -> bool {
    match (since, left) {
        (None, _) => true,
        // k3s has not made them yet.
        (Some(since), None) => since >= SOON,
        // Also after a jump of the clock past their end: it is noticed at once, not at the next regular look.
        (Some(since), Some(left)) => left <= 0 || since >= REGULAR,
    }
}

/// Pure: may k3s be started anew for them, so long after the last time? One that does not renew them is not started all the
/// time; pods live through it, its clients notice. `attempts`: how often it was while one had expired.
#[must_use]
pub fn again(since: Option<Duration>, left: i64, attempts: u32) -> bool {
    let pause = if left <= 0 && attempts < ATTEMPTS { EXPIRED } else { REGULAR };
    since.is_none_or(|since| since >= pause)
}

/// When the first certificate of this node expires, in seconds since 1970, and its name; `None` without any.
#[must_use]
pub fn first_expiry(place: &Place) -> Option<(i64, String)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in FOLDERS {
        let entries = fs::read_dir(place.path(folder)).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| entry.path()));
    }
    let ours = |path: &&PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Authorities are valid for ten years and renewed by other means.
        name.ends_with(".crt") && !name.ends_with("-ca.crt") && !name.contains("-ca.nochain")
    };
    let expiry = |path: &PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some((not_after(&first_der(&fs::read_to_string(path).ok()?)?)?, name))
    };
    files.iter().filter(ours).filter_map(expiry).min()
}

/// The first certificate of a PEM file: a chain begins with its own.
fn first_der(text: &str) -> Option<Vec<u8>> {
    let body = text.split("-----BEGIN CERTIFICATE-----").nth(1)?.split("-----END CERTIFICATE-----").next()?;
    let code: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(code).ok()
}

/// One value of DER: tag, content, what follows (ITU-T X.690).
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `notAfter` of a certificate (RFC 5280, 4.1.2.5), in seconds since 1970.
fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate, _) = value(der)?;
    let (_, signed, _) = value(certificate)?;
    let (tag, _, mut rest) = value(signed)?;
    // An explicit version comes before the serial number.
    if tag == 0xa0 {
        rest = value(rest)?.2;
    }
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (_, validity, _) = value(rest)?;
    let (_, _, after) = value(validity)?;
    let (tag, time, _) = value(after)?;
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let (year, rest) = match (tag, text.len(), digits) {
        (0x17, 12, true) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (0x18, 14, true) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let two = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (two(0)?, two(2)?);
    let clock = two(4)? * 3600 + two(6)? * 60 + two(8)?;
    (1..=12).contains(&month).then(|| days(year, month, day) * DAY + clock)
}

/// Days since 1970 of a date of the Gregorian calendar. March begins the year, so that the odd day is its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::atomic;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};

    fn certificate(year: i32, month: u8, day: u8) -> String {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(made.der()))
    }

    #[test]
    fn the_first_to_expire_counts_and_authorities_do_not() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert_eq!(first_expiry(&place), None);
        for folder in FOLDERS {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        let put = |path: &str, text: &str| atomic::write(&place.path(path), text.as_bytes(), 0o644).unwrap();
        put("/var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt", &certificate(2027, 3, 1));
        put("/var/lib/rancher/k3s/server/tls/server-ca.crt", &certificate(2026, 1, 1));
        put("/var/lib/rancher/k3s/agent/serving-kubelet.crt", &certificate(2060, 1, 1));
        put("/var/lib/rancher/k3s/agent/junk.crt", "nonsense");
        let first = first_expiry(&place).unwrap();
        assert_eq!(first, (1_803_859_200, "serving-kube-apiserver.crt".to_owned()));
        assert_eq!(not_after(&first_der(&certificate(2060, 2, 29)).unwrap()), Some(2_845_238_400));
    }

    #[test]
    fn the_standby_first_and_nobody_too_late() {
        let days = |days: i64| days * DAY;
        assert!(!due(days(61), false, true) && due(days(59), false, true));
        assert!(!due(days(59), true, true) && due(days(49), true, true));
        assert!(!due(days(49), true, false) && !due(days(49), false, false), "the other one is away");
        assert!(due(days(9), true, false) && due(days(-400), false, false), "also after a jump of the clock");
    }

    #[test]
    fn a_jump_of_the_clock_is_noticed_at_once_and_answered_once() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert!(look(None, None) && look(hours(1), None) && !look(Some(Duration::ZERO), None));
        assert!(!look(hours(5), Some(DAY)) && look(hours(6), Some(DAY)));
        assert!(look(Some(Duration::ZERO), Some(-1)));
        assert!(again(None, -1, 0) && !again(Some(Duration::from_secs(60)), -1, 1) && again(hours(1), -1, 1));
        assert!(!again(hours(1), -1, ATTEMPTS), "one that is not renewed by it");
        assert!(!again(hours(1), DAY, 0) && again(hours(6), DAY, 0));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, text: String) {
            let _ = not_after(&bytes);
            let _ = first_der(&text);
        }
    }
}

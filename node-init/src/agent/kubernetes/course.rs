//! Pure: what several looks at k3s in a row say that one look alone does not.
//!
//! systemd starts k3s again whenever it ends, and k3s may take as long as it likes to get ready: each single look says no
//! more than that it is starting. An operator needs to be told when that has become a fault, and what k3s itself said.

use std::time::Duration;
use tokio::time::Instant;

/// So many new starts, while it was never ready, are no accident.
const LOOP: u32 = 3;
/// A board with a slow card takes minutes for the first start, when k3s unpacks itself; never so many.
const LATE: Duration = Duration::from_secs(8 * 60);
/// An API server that is well answers in well under a second, on the slowest board in two.
pub const SLOW: Duration = Duration::from_secs(5);
/// Slow answers in a row that are worth a word: one can be an accident.
const SLOW_LOOKS: u32 = 2;
/// Longest quotation, in characters.
const QUOTED: usize = 240;

/// What k3s is doing while it is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It may still become ready.
    Starting,
    /// It ends by itself again and again: so many times, in so long.
    Ends(u32, Duration),
    /// It runs, and has not become ready in so long.
    Never(Duration),
}

/// The looks so far.
#[derive(Debug, Default)]
pub struct Course {
    /// Since when it has not been ready, and how often systemd had started it anew by then.
    down: Option<(Instant, u32)>,
    slow: u32,
}

impl Course {
    /// It is being started. `restarts`: systemd's `NRestarts`, which begins anew when somebody else starts the unit.
    pub fn not_ready(&mut self, now: Instant, restarts: u32) -> Waiting {
        self.slow = 0;
        if self.down.is_some_and(|(_, before)| restarts < before) {
            self.down = None;
        }
        let (since, before) = *self.down.get_or_insert((now, restarts));
        let (long, times) = (now.saturating_duration_since(since), restarts - before);
        // One that systemd ends because it is never ready does not end by itself.
        if times >= LOOP && long / times < LATE {
            Waiting::Ends(times, long)
        } else if long >= LATE {
            Waiting::Never(long)
        } else {
            Waiting::Starting
        }
    }

    /// Somebody has stopped it, or it is not here: what follows is a new story.
    pub fn stopped(&mut self) {
        *self = Self::default();
    }

    /// It is ready, and a list of the nodes took so long.
    pub fn ready(&mut self, took: Duration) -> Option<String> {
        self.down = None;
        self.slow = if took >= SLOW { self.slow.saturating_add(1) } else { 0 };
        (self.slow >= SLOW_LOOKS).then(|| {
            format!(
                "the API server took {:.0} s for the list of nodes: its datastore is slow, or the processors are busy; \
                 /proc/pressure/io and /proc/pressure/cpu on the active node tell them apart",
                took.as_secs_f32()
            )
        })
    }
}

impl Waiting {
    /// A sentence. `result`: systemd's word for how it ended last (`Result` of a service). `said`: the last words of k3s about
    /// itself.
    #[must_use]
    pub fn sentence(self, unit: &str, result: &str, said: Option<&str>) -> String {
        let minutes = |long: Duration| match long.as_secs() {
            seconds @ 0..120 => format!("{seconds} s"),
            seconds => format!("{} min", seconds / 60),
        };
        let what = match self {
            Self::Starting => return "k3s is starting".to_owned(),
            Self::Ends(times, long) => {
                format!("k3s ends by itself, {times} times in {}, and is started again", minutes(long))
            }
            Self::Never(long) => format!("k3s runs and has not become ready in {}", minutes(long)),
        };
        let how = match result {
            "oom-kill" => " (the kernel ended it: no memory was left)",
            "timeout" => " (systemd ended it: it was not ready in time)",
            "signal" | "core-dump" => " (it crashed)",
            _ => "",
        };
        let said = said.map_or_else(String::new, |said| {
            let advice = advice(said).map_or_else(String::new, |advice| format!(" ({advice})"));
            format!("; it says: {said}{advice}")
        });
        format!("{what}{how}{said}; journalctl -u {unit}")
    }
}

/// What k3s said last about why it does not run: of its journal the last line at the level of a fatal error, else of an
/// error, else the last one. `secrets` are what must not be shown, word by word; tokens of k3s's own form and passwords in
/// addresses are not shown either.
#[must_use]
pub fn last_words(journal: &str, secrets: &[String]) -> Option<String> {
    let last = |level: &str| journal.lines().rev().find(|line| line.contains(level));
    let plain = || journal.lines().rev().find(|line| !line.trim().is_empty());
    let line = last("level=fatal").or_else(|| last("level=error")).or_else(plain)?;
    let said = line.split_once("msg=").map_or(line, |(_, message)| message).trim();
    let said = said.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(said);
    let mut said = said.replace("\\\"", "\"");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        said = said.replace(secret.as_str(), "…");
    }
    let said: Vec<String> = said.split_whitespace().map(without_secret).collect();
    let said: String = said.join(" ").chars().take(QUOTED).collect();
    (!said.is_empty()).then_some(said)
}

/// What a configuration of k3s holds that is not to be shown: its token, its datastore's address, and the password in that.
#[must_use]
pub fn secrets(config: &str) -> Vec<String> {
    let body: String = config.lines().filter(|line| !line.starts_with('#')).collect();
    let config: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |key: &str| config.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let endpoint = text("datastore-endpoint");
    // `scheme://user:password@host`: a password may have an `@` in it.
    let password = endpoint.as_deref().and_then(|endpoint| {
        let (user, _) = endpoint.split_once("://")?.1.rsplit_once('@')?;
        Some(user.split_once(':')?.1.to_owned())
    });
    [text("token"), endpoint, password].into_iter().flatten().collect()
}

/// A word as it may be shown: a token of k3s begins with `K10`, a password in an address lies between `:` and `@`.
fn without_secret(word: &str) -> String {
    if word.contains("K10") {
        return "(token)".to_owned();
    }
    match (word.find("://"), word.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}…{}", &word[..scheme + 3], &word[at..]),
        _ => word.to_owned(),
    }
}

/// What to do about it, where that is known.
fn advice(said: &str) -> Option<&'static str> {
    let low = said.to_lowercase();
    let has = |words: &[&str]| words.iter().all(|word| low.contains(word));
    if has(&["different token"]) || has(&["token", "not valid"]) || has(&["token", "does not match"]) {
        return Some(
            "this node's token is not the cluster's: it is derived from the secret of the seed, which must be the one that the \
             cluster was made with, on both nodes",
        );
    }
    if has(&["x509", "expired"]) || has(&["x509", "not yet valid"]) {
        return Some("compare the clocks of both nodes: `timedatectl`");
    }
    if has(&["no space left"]) {
        return Some("the disk is full: `df -h /var/lib`");
    }
    if has(&["flag provided but not defined"]) || has(&["unknown flag"]) {
        return Some("an option in `[kubernetes.config]` of the seed is none of this version of k3s");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_start_becomes_a_fault_when_it_repeats_or_never_ends() {
        let begun = Instant::now();
        let mut course = Course::default();
        assert_eq!(course.not_ready(begun, 7), Waiting::Starting);
        assert_eq!(course.not_ready(begun + after(30), 9), Waiting::Starting);
        assert_eq!(course.not_ready(begun + after(60), 10), Waiting::Ends(3, after(60)));
        // Somebody started the unit by hand: the count begins anew.
        let again = begun + after(70);
        assert_eq!(course.not_ready(again, 1), Waiting::Starting);
        assert_eq!(course.not_ready(again + LATE, 1), Waiting::Never(LATE));
        // systemd ends it after its own limit, again and again.
        assert_eq!(course.not_ready(again + LATE * 4, 4), Waiting::Never(LATE * 4));
        assert_eq!(course.ready(after(1)), None);
        assert_eq!(course.not_ready(again + LATE * 5, 4), Waiting::Starting, "a new story");
        assert_eq!(course.not_ready(again + LATE * 9, 4), Waiting::Never(LATE * 4));
        course.stopped();
        assert_eq!(course.not_ready(again + LATE * 9, 4), Waiting::Starting);
    }

    #[test]
    fn one_slow_answer_is_an_accident() {
        let mut course = Course::default();
        assert_eq!(course.ready(after(6)), None);
        assert!(course.ready(after(7)).unwrap().contains("took 7 s"));
        assert_eq!(course.ready(after(1)), None);
        assert_eq!(course.ready(after(6)), None);
    }

    #[test]
    fn the_last_words_are_those_that_matter() {
        let journal = r#"time="x" level=info msg="Starting k3s"
time="x" level=fatal msg="starting kubernetes: preparing server: bootstrap data already found and encrypted with different token"
edgepair-k3s-server.service: Main process exited"#;
        let said = last_words(journal, &[]).unwrap();
        assert!(said.starts_with("starting kubernetes: preparing server"), "{said}");
        let sentence = Waiting::Ends(4, after(50)).sentence("k.service", "exit-code", Some(&said));
        assert!(
            sentence
                .starts_with("k3s ends by itself, 4 times in 50 s, and is started again; it says: starting"),
            "{sentence}"
        );
        assert!(
            sentence.contains("secret of the seed") && sentence.ends_with("journalctl -u k.service"),
            "{sentence}"
        );
        let never = Waiting::Never(after(660)).sentence("k.service", "success", None);
        assert_eq!(never, "k3s runs and has not become ready in 11 min; journalctl -u k.service");
        assert_eq!(last_words("  \n", &[]), None);
        assert_eq!(
            last_words("flag provided but not defined: -x\n\n", &[]).unwrap(),
            "flag provided but not defined: -x"
        );
    }

    #[test]
    fn no_secret_is_quoted() {
        let said = r#"level=error msg="dial postgres://kine:hunter2@127.0.0.1:5433/kine with K10aa::server:bb failed""#;
        assert_eq!(
            last_words(said, &[]).unwrap(),
            "dial postgres://…@127.0.0.1:5433/kine with (token) failed"
        );
    }

    #[test]
    fn what_the_configuration_holds_is_not_quoted() {
        let config = "# Rendered\n{\"token\": \"plain32\", \"datastore-endpoint\": \"mysql://k:pass word@tcp(h)/d\"}\n";
        let secrets = secrets(config);
        assert_eq!(secrets, ["plain32", "mysql://k:pass word@tcp(h)/d", "pass word"]);
        let said = last_words("level=fatal msg=\"plain32 and pass word\"", &secrets).unwrap();
        assert_eq!(said, "… and …");
        assert!(super::secrets("nonsense").is_empty());
    }

    proptest! {
        #[test]
        fn any_journal_is_survived(text: String) {
            if let Some(said) = last_words(&text, &[]) {
                prop_assert!(said.chars().count() <= QUOTED);
                let _ = Waiting::Never(LATE).sentence("u", "", Some(&said));
            }
        }
    }
}

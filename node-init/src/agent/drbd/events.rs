//! A line of `drbdsetup events2` (drbdsetup(8), version 8.4: `print_notifications` of drbd-utils).
//!
//! ```text
//! exists resource name:edgepair role:Secondary suspended:no
//! change connection name:edgepair local:ipv4:192.0.2.60:7789 peer:ipv4:192.0.2.61:7789 connection:Connected role:Secondary
//! call helper name:edgepair volume:0 minor:0 helper:split-brain
//! exists -
//! ```
//! Some versions put an event number in front.

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Part of the first dump.
    Exists,
    /// It is new.
    Create,
    /// It changed.
    Change,
    /// It is gone.
    Destroy,
    /// The kernel calls a handler.
    Call,
    /// A handler has exited.
    Response,
}

/// One line, as far as the agent uses it. Words of the line are borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The first dump is complete.
    Complete,
    /// The tool lost so many events: everything has to be looked at anew.
    Skipped,
    /// State of a connection, in the kernel's word.
    Connection {
        /// What happened.
        action: Action,
        /// `StandAlone`, `Connecting`, `Connected`, …; empty when it is gone.
        state: &'a str,
    },
    /// A handler is called or has exited.
    Helper {
        /// Call or response.
        action: Action,
        /// Its name.
        name: &'a str,
    },
    /// Another object of our resource: a reason to look.
    Other,
    /// Of another resource.
    Foreign,
}

/// Why a line was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of events2: {line:?}")]
pub struct BadLine {
    /// Its beginning.
    pub line: String,
}

/// Reads one line about `resource`.
///
/// # Errors
/// [`BadLine`] for what no known version prints. The caller looks at the whole state then, too.
pub fn parse<'a>(line: &'a str, resource: &str) -> Result<Line<'a>, BadLine> {
    let bad = || BadLine { line: line.chars().take(120).collect() };
    let mut words = line.split_whitespace().peekable();
    let number = |word: &&str| word.trim_end_matches('*').bytes().all(|byte| byte.is_ascii_digit());
    words.next_if(number);
    let action = match words.next().ok_or_else(bad)? {
        "exists" => Action::Exists,
        "create" => Action::Create,
        "change" => Action::Change,
        "destroy" => Action::Destroy,
        "call" => Action::Call,
        "response" => Action::Response,
        "-" if words.next() == Some("skipped") => return Ok(Line::Skipped),
        _ => return Err(bad()),
    };
    let object = words.next().ok_or_else(bad)?;
    if object == "-" {
        return Ok(Line::Complete);
    }
    let fields = words.filter_map(|word| word.split_once(':'));
    let mut name = None;
    let (mut connection, mut helper) = ("", "");
    for (key, value) in fields {
        match key {
            "name" => name = Some(value),
            "connection" => connection = value,
            "helper" => helper = value,
            _ => {}
        }
    }
    if name.is_some_and(|name| name != resource) {
        return Ok(Line::Foreign);
    }
    match object {
        "connection" => Ok(Line::Connection { action, state: connection }),
        "helper" => Ok(Line::Helper { action, name: helper }),
        "resource" | "device" | "peer-device" | "path" => Ok(Line::Other),
        _ => Err(bad()),
    }
}

/// Whether a connection in this state replicates or is about to: every other word means that it was lost.
#[must_use]
pub fn is_up(state: &str) -> bool {
    state == "Connected" || state == "Established"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = include_str!("golden/events2.txt");

    #[test]
    fn every_line_of_the_real_tool_is_understood() {
        for line in GOLDEN.lines() {
            assert_ne!(parse(line, "edgepair").map(|line| line == Line::Foreign), Ok(true), "{line}");
            assert!(parse(line, "edgepair").is_ok(), "{line}");
        }
        let connections: Vec<&str> = GOLDEN
            .lines()
            .filter_map(|line| match parse(line, "edgepair") {
                Ok(Line::Connection { state, .. }) => Some(state),
                _ => None,
            })
            .collect();
        assert!(connections.contains(&"StandAlone") && connections.contains(&"Connected"), "{connections:?}");
        let complete = GOLDEN.lines().filter(|line| parse(line, "edgepair") == Ok(Line::Complete)).count();
        assert_eq!(complete, 1);
    }

    #[test]
    fn what_matters_is_read() {
        let up = "17 change connection name:edgepair local:ipv6:[fd00::1]:7789 peer:ipv6:[fd00::2]:7789 connection:Connected role:Primary";
        assert_eq!(
            parse(up, "edgepair"),
            Ok(Line::Connection { action: Action::Change, state: "Connected" })
        );
        assert_eq!(parse(up, "other"), Ok(Line::Foreign));
        let call = "call helper name:edgepair volume:0 minor:0 helper:split-brain";
        assert_eq!(parse(call, "edgepair"), Ok(Line::Helper { action: Action::Call, name: "split-brain" }));
        assert_eq!(parse("- skipped 3", "edgepair"), Ok(Line::Skipped));
        assert_eq!(parse("0 exists -", "edgepair"), Ok(Line::Complete));
        assert!(parse("usage: drbdsetup", "edgepair").is_err());
        assert!(parse("", "edgepair").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(line in "\\PC*") {
            let _ = parse(&line, "edgepair");
        }
    }
}

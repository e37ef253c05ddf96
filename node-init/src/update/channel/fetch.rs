//! Asking for the channel's file. Runs beside the agent's loop.

use super::{Answer, Question};
use crate::member::Place;
use crate::update::bundle::http::Http;
use crate::update::bundle::trust;
use edgepair_bundle::channel::{CHANNEL_MAX, Signed, Unverified};
use edgepair_host_io::{Invocation, Runner};
use edgepair_layout::path::{UPDATE_KEYS, ZONES};
use edgepair_signature::TrustedKeys;

/// Asks the server, and this node's clock for its time zone.
pub fn ask(question: &Question, place: &Place, runner: &dyn Runner) -> Answer {
    let keys = trust::trusted(&place.path(UPDATE_KEYS));
    let file = keys.and_then(|keys| fetch(question, &keys));
    Answer { file, offset: offset(&question.zone, place, runner) }
}

fn fetch(question: &Question, keys: &TrustedKeys) -> Result<Signed, String> {
    let bytes = Http::new(&question.address)
        .and_then(|mut http| http.whole(CHANNEL_MAX))
        .map_err(|error| format!("the channel cannot be read: {error}"))?;
    let checked = Unverified::read(&bytes).and_then(|file| file.verify(keys, Some(&question.name)));
    checked.map_err(|error| format!("{error}: {}", error.advice()))
}

/// Seconds that a zone is ahead of UTC now, by date(1), which reads the zone database.
fn offset(zone: &str, place: &Place, runner: &dyn Runner) -> Result<i32, String> {
    if zone == "UTC" {
        return Ok(0);
    }
    // An unknown zone is UTC for date(1), without a word.
    if !place.path(ZONES).join(zone).is_file() {
        return Err(format!("the time zone {zone} is not known here: its windows are taken as UTC"));
    }
    let call = Invocation::new("date").env("TZ", zone).arg("+%z");
    let output = runner.run(&call).map_err(|error| error.to_string())?;
    read_offset(output.text().trim())
        .ok_or_else(|| format!("date said {:?} of the time zone {zone}", output.text().trim()))
}

/// Reads `+0530`.
fn read_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    (number % 100 < 60 && number <= 1500).then_some(sign * (number / 100 * 3600 + number % 100 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::HostRunner;

    #[test]
    fn zones_are_read_and_unknown_ones_named() {
        for (text, seconds) in [("+0000", 0), ("+0530", 19_800), ("-0330", -12_600), ("+1400", 50_400)] {
            assert_eq!(read_offset(text), Some(seconds), "{text}");
        }
        for text in ["", "0100", "+01", "+0160", "+9900", "+01é", "é"] {
            assert_eq!(read_offset(text), None, "{text}");
        }
        let root = tempfile::tempdir().unwrap();
        let place = Place::at(root.path());
        assert_eq!(offset("UTC", &place, &HostRunner), Ok(0));
        assert!(offset("Europe/Vienna", &place, &HostRunner).unwrap_err().contains("not known here"));
        if std::path::Path::new(ZONES).join("Asia/Kolkata").is_file() {
            assert_eq!(offset("Asia/Kolkata", &Place::default(), &HostRunner), Ok(19_800));
        }
    }
}

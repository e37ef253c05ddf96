//! Points in time as a manifest writes them: `2027-01-01T00:00:00Z`, whole seconds, UTC.

use std::fmt;
use toml::value::{Datetime, Offset};

/// Seconds since 1970-01-01 00:00 UTC, from 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub u64);

/// The last second that has a written form: 9999-12-31T23:59:59Z.
const LAST: u64 = 253_402_300_799;

impl Time {
    /// Reads `2027-01-01T00:00:00Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_toml(&text.parse().ok()?)
    }

    /// From TOML's own type; only whole seconds in UTC, so that a time has one written form.
    #[must_use]
    pub(crate) fn from_toml(stamp: &Datetime) -> Option<Self> {
        let (Some(date), Some(time), Some(Offset::Z)) = (stamp.date, stamp.time, stamp.offset) else {
            return None;
        };
        let zero = time.nanosecond == 0;
        let second = u64::from(time.second);
        // A leap second has no number of its own.
        if !zero || second > 59 || date.year < 1970 {
            return None;
        }
        let days = days(i64::from(date.year), i64::from(date.month), i64::from(date.day));
        let seconds = u64::from(time.hour) * 3600 + u64::from(time.minute) * 60 + second;
        Some(Self(u64::try_from(days).ok()? * 86_400 + seconds))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.0.min(LAST);
        let (year, month, day) = date(i64::try_from(at / 86_400).unwrap_or(0));
        let second = at % 86_400;
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. A year begins with March, so that the day that is added
/// every four years is the last one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (century, of_400) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    century * 146_097 + of_400 * 365 + of_400 / 4 - of_400 / 100 + of_year - 719_468
}

/// The date of a day counted from 1970-01-01.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (century, of_400) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_400 - of_400 / 1460 + of_400 / 36_524 - of_400 / 146_096) / 365;
    let of_year = of_400 - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (century * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_answers() {
        // `date -u -d @N +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Time(seconds).to_string(), text);
            assert_eq!(Time::parse(text), Some(Time(seconds)), "{text}");
        }
        for other in [
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+01:00",
            "1969-12-31T23:59:59Z",
            "12:00:00",
            "",
        ] {
            assert_eq!(Time::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_second_has_one_text(seconds in 0..=LAST) {
            prop_assert_eq!(Time::parse(&Time(seconds).to_string()), Some(Time(seconds)));
        }
    }
}

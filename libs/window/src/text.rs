//! A window's text: read with reasons, written in one form.

use super::{DAY, Window};
use std::fmt;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ALL: u8 = 0b111_1111;

/// Why a text is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowError {
    /// It is not days, a space, and times.
    Form,
    /// Its days.
    Days,
    /// Its times.
    Times,
    /// It ends when it begins.
    Empty,
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "a window is days, a space and times, as in \"Mon-Fri 22:00-04:00\", and UTC behind them if they are",
            Self::Days => "days are daily, or Mon, Tue, Wed, Thu, Fri, Sat, Sun, single or from-to, with commas between them",
            Self::Times => "times are from 00:00 to 24:00, as in 22:00-04:00",
            Self::Empty => "the window ends when it begins; the whole day is 00:00-24:00",
        })
    }
}

impl std::error::Error for WindowError {}

impl Window {
    /// Reads `Mon-Fri 22:00-04:00`, `daily 02:00-03:00 UTC`.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let words: Vec<&str> = text.split(' ').take(4).collect();
        let (days, times, utc) = match words.as_slice() {
            [days, times] => (days, times, false),
            [days, times, "UTC"] => (days, times, true),
            _ => return Err(WindowError::Form),
        };
        let days = read_days(days).ok_or(WindowError::Days)?;
        let (from, to) = times.split_once('-').ok_or(WindowError::Times)?;
        let (from, to) =
            minutes(from).filter(|from| *from < DAY).zip(minutes(to)).ok_or(WindowError::Times)?;
        let length = match (from, to) {
            (from, to) if from == to => return Err(WindowError::Empty),
            (from, to) if from < to => to - from,
            (from, to) => DAY - from + to,
        };
        Ok(Self { days, from, length, utc })
    }
}

fn read_days(text: &str) -> Option<u8> {
    if text == "daily" {
        return Some(ALL);
    }
    let number = |name: &str| DAYS.iter().position(|day| *day == name);
    // Not more than a week of them, however long the text is.
    if text.len() > 64 {
        return None;
    }
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        // `Sat-Mon` goes over the end of the week.
        let count = (last + 7 - first) % 7;
        days = (0..=count).fold(days, |days, more| days | 1 << ((first + more) % 7));
    }
    Some(days)
}

fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days == ALL {
            f.write_str("daily")?;
        } else {
            let names = DAYS.iter().enumerate().filter(|(day, _)| self.days >> day & 1 == 1);
            f.write_str(&names.map(|(_, name)| *name).collect::<Vec<_>>().join(","))?;
        }
        let end = self.from + self.length;
        let end = if end > DAY { end - DAY } else { end };
        let time = |at: u16| format!("{:02}:{:02}", at / 60, at % 60);
        write!(f, " {}-{}{}", time(self.from), time(end), if self.utc { " UTC" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_are_read_and_written() {
        for (text, written) in [
            ("Mon-Fri 22:00-04:00", "Mon,Tue,Wed,Thu,Fri 22:00-04:00"),
            ("daily 02:00-03:30 UTC", "daily 02:00-03:30 UTC"),
            ("Mon-Sun 00:00-24:00", "daily 00:00-24:00"),
            ("Sat-Mon 23:59-00:00", "Mon,Sat,Sun 23:59-00:00"),
            ("Sun,Tue 00:00-00:01", "Tue,Sun 00:00-00:01"),
        ] {
            let window = Window::parse(text).expect(text);
            // Midnight at the end is 24:00, however it was written.
            let written = written.replace("-00:00", "-24:00");
            assert_eq!(window.to_string(), written);
            assert_eq!(Window::parse(&written), Ok(window), "{written}");
        }
        for (text, error) in [
            ("", WindowError::Form),
            ("Mon-Fri", WindowError::Form),
            ("Mon-Fri 22:00-04:00 CET", WindowError::Form),
            ("Mon-Fri  22:00-04:00", WindowError::Form),
            ("Monday 22:00-04:00", WindowError::Days),
            ("Mon,,Fri 22:00-04:00", WindowError::Days),
            ("mon 22:00-04:00", WindowError::Days),
            ("Mon 24:00-04:00", WindowError::Times),
            ("Mon 22:60-04:00", WindowError::Times),
            ("Mon 22-04", WindowError::Times),
            ("Mon +2:00-04:00", WindowError::Times),
            ("Mon 04:00-24:01", WindowError::Times),
            ("Mon 04:00-04:00", WindowError::Empty),
        ] {
            assert_eq!(Window::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_has_one_text(text in "\\PC{0,40}", days in "(daily|[MTWFS][a-z]{2}(-[MTWFS][a-z]{2})?)", times in "[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]") {
            for text in [text, format!("{days} {times}"), format!("{days} {times} UTC")] {
                if let Ok(window) = Window::parse(&text) {
                    prop_assert_eq!(Window::parse(&window.to_string()), Ok(window));
                }
            }
        }
    }
}

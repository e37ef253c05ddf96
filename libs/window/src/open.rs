//! When windows are open.

use super::{DAY, Window};
use std::ops::Range;

/// Seconds of a minute and of a day.
const MINUTE: i64 = 60;
const DAY_SECONDS: i64 = DAY as i64 * MINUTE;

/// The spans of time within `range` in which every list has a window that is open, in order and apart from each other. A list
/// without windows is always open. Times are seconds since 1970-01-01 00:00 UTC; `offset` is how many seconds local time is ahead
/// of UTC. Local time is taken to be that far ahead in the whole range: a change of summer time in it moves what follows by an hour.
#[must_use]
pub fn open(lists: &[&[Window]], offset: i32, range: Range<i64>) -> Vec<Range<i64>> {
    let mut all = if range.is_empty() { Vec::new() } else { vec![range.clone()] };
    for windows in lists.iter().filter(|windows| !windows.is_empty()) {
        all = both(&all, &of_list(windows, offset, &range));
    }
    all
}

/// The spans of one list, those that touch made one.
fn of_list(windows: &[Window], offset: i32, range: &Range<i64>) -> Vec<Range<i64>> {
    let mut spans = Vec::new();
    for window in windows {
        let ahead = if window.utc { 0 } else { i64::from(offset) };
        // One that began the day before may still be open.
        let first = (range.start + ahead).div_euclid(DAY_SECONDS) - 1;
        let last = (range.end + ahead).div_euclid(DAY_SECONDS);
        for day in first..=last {
            // 1970-01-01 was a Thursday.
            if window.days >> (day + 3).rem_euclid(7) & 1 == 1 {
                let start = day * DAY_SECONDS + i64::from(window.from) * MINUTE - ahead;
                spans.push(start..start + i64::from(window.length) * MINUTE);
            }
        }
    }
    spans.sort_by_key(|span| span.start);
    let mut merged: Vec<Range<i64>> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// What is in both of two lists of spans.
fn both(one: &[Range<i64>], other: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut all = Vec::new();
    let (mut a, mut b) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        let span = left.start.max(right.start)..left.end.min(right.end);
        if !span.is_empty() {
            all.push(span);
        }
        if left.end <= right.end {
            a.next();
        } else {
            b.next();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2027-01-04 00:00 UTC, a Monday (`date -u -d 2027-01-04 +%s`).
    const MONDAY: i64 = 1_799_020_800;
    const HOUR: i64 = 3600;
    const WEEK: i64 = 7 * DAY_SECONDS;

    fn list(texts: &[&str]) -> Vec<Window> {
        texts.iter().map(|text| Window::parse(text).expect("a window")).collect()
    }

    /// Spans in hours after that Monday.
    fn hours(texts: &[&[&str]], offset: i32) -> Vec<(i64, i64)> {
        let lists: Vec<Vec<Window>> = texts.iter().map(|texts| list(texts)).collect();
        let lists: Vec<&[Window]> = lists.iter().map(Vec::as_slice).collect();
        let spans = open(&lists, offset, MONDAY..MONDAY + WEEK);
        spans.iter().map(|span| ((span.start - MONDAY) / HOUR, (span.end - MONDAY) / HOUR)).collect()
    }

    #[test]
    fn known_weeks() {
        assert_eq!(hours(&[&["Mon 02:00-05:00"]], 0), [(2, 5)]);
        assert_eq!(hours(&[&["Mon 02:00-05:00"]], 3600), [(1, 4)], "an hour ahead of UTC");
        assert_eq!(hours(&[&["Mon 02:00-05:00 UTC"]], 3600), [(2, 5)]);
        assert_eq!(hours(&[&["Tue 01:00-02:00"]], 2 * 3600), [(23, 24)], "the day before, in UTC");
        assert_eq!(hours(&[&["Sun 22:00-04:00"]], 0), [(0, 4), (166, 168)], "over the end of the week");
        assert_eq!(hours(&[&["daily 00:00-24:00"]], 0), [(0, 168)], "one span, and not seven");
        assert_eq!(hours(&[&["Mon 01:00-03:00", "Mon 02:00-04:00", "Mon 06:00-07:00"]], 0), [(1, 4), (6, 7)]);
        assert_eq!(hours(&[&["Mon 01:00-03:00"], &["Mon-Tue 02:00-04:00"]], 0), [(2, 3)]);
        assert_eq!(hours(&[&["Mon 01:00-03:00"], &["Tue 01:00-03:00"]], 0), []);
        assert_eq!(hours(&[&[], &["Tue 01:00-03:00"]], 0), [(25, 27)]);
        assert_eq!(hours(&[], 0), [(0, 168)]);
        assert_eq!(open(&[], 0, 5..5), Vec::<Range<i64>>::new());
    }

    /// The same question, asked in the most simple way there is.
    fn is_open(window: &Window, at: i64, offset: i32) -> bool {
        let local = at + if window.utc { 0 } else { i64::from(offset) };
        (0..2).any(|back| {
            let day = local.div_euclid(DAY_SECONDS) - back;
            let into = (local - day * DAY_SECONDS) / MINUTE;
            let from = i64::from(window.from);
            window.days >> (day + 3).rem_euclid(7) & 1 == 1
                && (from..from + i64::from(window.length)).contains(&into)
        })
    }

    fn any_window() -> impl Strategy<Value = Window> {
        (1_u8..128, 0_u16..DAY, 1..=DAY, any::<bool>()).prop_map(|(days, from, length, utc)| Window {
            days,
            from,
            length,
            utc,
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_simple_question(
            one in prop::collection::vec(any_window(), 0..4),
            other in prop::collection::vec(any_window(), 0..4),
            offset in -50_400_i32..50_400,
            begin in 0_i64..4_000_000_000,
            length in 0_i64..2_000_000,
            at in 0_i64..2_000_000,
        ) {
            let spans = open(&[&one, &other], offset, begin..begin + length);
            prop_assert!(spans.windows(2).all(|two| two[0].end < two[1].start), "{spans:?}");
            prop_assert!(spans.iter().all(|span| span.start < span.end && begin <= span.start && span.end <= begin + length));
            let at = begin + at.min(length - 1).max(0);
            let wanted = length > 0
                && [&one, &other].iter().all(|list| list.is_empty() || list.iter().any(|window| is_open(window, at, offset)));
            prop_assert_eq!(spans.iter().any(|span| span.contains(&at)), wanted);
        }
    }
}

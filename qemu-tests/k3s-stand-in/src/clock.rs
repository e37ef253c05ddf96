//! The clocks, and times as Kubernetes writes them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[expect(clippy::disallowed_methods, reason = "a stand-in for a server that lives by the clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A clock that only goes forward.
#[expect(clippy::disallowed_methods, reason = "a stand-in for a server that lives by the clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Seconds since 1970.
pub fn unix() -> u64 {
    now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Now, as `metav1.Time` is written.
pub fn stamp() -> String {
    humantime::format_rfc3339_seconds(now()).to_string()
}

/// A moment from now, as `metav1.Time` is written.
pub fn stamp_in(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(now() + Duration::from_secs(seconds)).to_string()
}

/// Now, as `metav1.MicroTime` is written.
pub fn micro_stamp() -> String {
    humantime::format_rfc3339_micros(now()).to_string()
}

/// Seconds since a time that was written by one of these; negative when it lies ahead.
pub fn since(stamp: &str) -> Option<f64> {
    let then = humantime::parse_rfc3339(stamp).ok()?;
    Some(match now().duration_since(then) {
        Ok(since) => since.as_secs_f64(),
        Err(ahead) => -ahead.duration().as_secs_f64(),
    })
}

/// Year, month and day, so many days from now.
pub fn date_in(days: u64) -> (i32, u8, u8) {
    let text = humantime::format_rfc3339_seconds(now() + Duration::from_secs(days * 86_400)).to_string();
    let mut parts = text[..10].splitn(3, '-');
    let year = parts.next().and_then(|year| year.parse().ok()).unwrap_or(2030);
    let mut two = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(1);
    (year, two(), two())
}

/// An age as `kubectl get` shows it.
pub fn age(stamp: &str) -> String {
    let seconds = since(stamp).unwrap_or_default().max(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an age fits")]
    let seconds = seconds as u64;
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back() {
        assert!(since(&stamp()).unwrap() < 5.0);
        assert!(since(&stamp_in(100)).unwrap() < -90.0);
        assert!(since("yesterday").is_none());
        assert_eq!(age(&micro_stamp()), "0s");
        let (year, month, day) = date_in(3650);
        assert!(year > 2030 && (1..=12).contains(&month) && (1..=31).contains(&day));
    }
}

//! Maintenance windows: on which weekdays, at which times of day, something may be done by itself. Pure; the time and the
//! distance of local time from UTC are inputs.
//!
//! - [`Window`] is one of them, read from a text such as `Mon-Fri 22:00-04:00`, or `Sat,Sun 00:00-24:00 UTC`.
//! - [`open`] says when all of several lists are open at once.
//!
//! A window without `UTC` is in local time. It repeats every week; one that ends before it begins goes on into the next day.

mod open;
mod text;

pub use open::open;
pub use text::WindowError;

/// Most windows of a list.
pub const WINDOWS_MAX: usize = 32;
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Weekdays on which it begins; the lowest bit is Monday.
    days: u8,
    /// Minutes after midnight at which it begins, below a day.
    from: u16,
    /// Minutes that it is open, from 1 to a day.
    length: u16,
    /// Its times are UTC, and not local time.
    utc: bool,
}

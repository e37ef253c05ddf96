//! Updates from a channel.

use edgepair_window::Window;

/// `[update]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Address of the channel's file.
    pub channel: String,
    /// Whether the pair updates by itself; else it only says what there is.
    pub automatic: bool,
    /// When it may begin by itself; always when empty.
    pub windows: Vec<Window>,
    /// Name of the time zone of windows that are not in UTC.
    pub zone: String,
    /// Milliseconds between two looks at the channel.
    pub poll_ms: u64,
}

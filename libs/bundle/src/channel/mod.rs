//! A channel: one small signed file on a web server that says which bundle pairs take by themselves, and when.
//!
//! ```text
//! text ─▶ Unverified ─ verify(keys) ─▶ Signed ─ Memory::take ─▶ Channel in force ─ decide(now, …) ─▶ Decision
//!          size, form     signature      schema     not older than one before                         start, announce, wait
//! ```
//!
//! A static server is enough, and no list of pairs is kept anywhere: a pair's wave and its moment within a window follow from
//! its name. The signatures stand in the same file, so that a server that is being written to never hands out two halves.
//!
//! - [`Channel`] is the content, [`file`] the form, [`Memory`] what keeps an older file from coming back.
//! - [`decide`] is the one function that says what and when; the clock is an input, and may be wrong.

pub mod decide;
pub mod file;
mod memory;
mod parse;
mod text;

pub use decide::{Decision, Local, Wait, decide};
pub use file::{ChannelError, Signed, Unverified};
pub use memory::{Memory, Replayed, Seen};

use crate::manifest::Wave;
use crate::{Digest, Time, Version};
use edgepair_window::Window;

/// The only version of the format that this release reads and writes.
pub const SCHEMA: u64 = 1;
/// Largest channel file that is read, signatures included, in bytes.
pub const CHANNEL_MAX: usize = 64 << 10;
/// Longest time over which pairs are spread, in seconds: a week, after which windows repeat.
pub const JITTER_MAX: u32 = 7 * 86_400;
/// What the name of a channel's file ends with.
pub const SUFFIX: &str = ".channel";
/// Longest address of a bundle, in bytes.
pub const URL_MAX: usize = 1024;

/// What a channel says. Alone it proves nothing; see [`Signed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name, which its file has on the server: `stable` is in `stable.channel`.
    pub name: String,
    /// Rises with each file; an older one is not taken any more.
    pub serial: u64,
    /// When it was made. A clock that says less is wrong.
    pub issued: Time,
    /// Not acted on after this moment: whoever holds back newer files is noticed.
    pub expires: Time,
    /// When pairs begin; always when empty. The pair's own windows have to be open as well.
    pub windows: Vec<Window>,
    /// Pairs are spread over so many seconds, or over the window if that is shorter.
    pub jitter: u32,
    /// Which bundle.
    pub bundle: Named,
    /// Which pairs may take it when; empty: all, at once.
    pub waves: Vec<Wave>,
}

/// The bundle that a channel names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its address, or where it is seen from the channel file.
    pub url: String,
    /// Its version.
    pub version: Version,
    /// Bytes of the whole.
    pub size: u64,
    /// SHA-256 of its head: everything before the first payload, signatures included.
    pub head: Digest,
}

/// The channel that an address is of: its last part without [`SUFFIX`], where that can be a channel's name.
#[must_use]
pub fn name_of(address: &str) -> Option<&str> {
    let name = address.rsplit('/').next()?.strip_suffix(SUFFIX)?;
    is_name(name).then_some(name)
}

/// Letters, digits, dots, underscores and hyphens, at most 64, beginning with a letter or digit.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(good)
}

impl Named {
    /// The address of the bundle, as seen from the address of the channel's file. `None` when that is no address.
    #[must_use]
    pub fn address(&self, channel: &str) -> Option<String> {
        if is_address(&self.url) {
            return Some(self.url.clone());
        }
        let (scheme, rest) = channel.split_once("://")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if let Some(from_root) = self.url.strip_prefix('/') {
            return Some(format!("{scheme}://{host}/{from_root}"));
        }
        // What follows a question mark is no folder.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        Some(format!("{scheme}://{host}/{folder}{}", self.url))
    }
}

/// Begins as the address of something on a web server.
fn is_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// A way to a bundle: letters of RFC 3986, no spaces, no login, no step upwards, no other kind of address.
fn is_url(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]!$&()*+,;=%@".contains(&byte);
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let host = rest.split('/').next().unwrap_or_default();
    let path = rest.split('?').next().unwrap_or_default();
    !rest.is_empty()
        && text.len() <= URL_MAX
        && text.bytes().all(good)
        && if scheme.is_empty() {
            !text.contains("://") && !text.starts_with("//") && !host.contains(':')
        } else {
            matches!(scheme, "https" | "http") && !host.is_empty() && !host.contains('@')
        }
        && !path.split('/').any(|part| part == ".." || part == ".")
}

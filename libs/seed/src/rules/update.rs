//! Updates from a channel.

use super::Rules;
use edgepair_window::{WINDOWS_MAX, open};

/// A week, in seconds.
const WEEK: i64 = 7 * 86_400;
/// Less than this each week, in seconds, and a pair may miss all of it.
const HOUR: i64 = 3600;

/// What a channel may be called: it is compared with the name in the signed file.
fn is_channel(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric();
    let good = |byte: u8| letter(byte) || b"._-".contains(&byte);
    name.len() <= 64 && name.bytes().next().is_some_and(letter) && name.bytes().all(good)
}

impl Rules<'_> {
    pub(super) fn update(&mut self) {
        let seed = self.seed;
        if !seed.has_table("update") {
            return;
        }
        if let Some(url) = seed.text("update.channel") {
            let name = url.rsplit('/').next().and_then(|file| file.strip_suffix(".channel"));
            if !name.is_some_and(is_channel) || url.contains(['?', '#']) {
                self.error(
                    "channel-name",
                    "update.channel",
                    "the address does not end in the name of a channel's file",
                    "write it as https://…/NAME.channel, where NAME is the channel's own name",
                );
            }
            if url.starts_with("http://") {
                self.warn(
                    "channel-seen",
                    "update.channel",
                    "without HTTPS everybody on the way sees which versions this pair asks for, and can hold newer ones back until the file expires",
                    "use https:// where the server has it; the file is signed in either case",
                );
            }
        }
        self.bound(
            "update.poll",
            60_000,
            86_400_000,
            "more often is no use, and a file that is held back shows up late",
        );
        let windows: Vec<_> =
            seed.items("update.windows")
                .into_iter()
                .filter_map(|(value, _)| {
                    if let crate::value::Value::Window(window) = value { Some(*window) } else { None }
                })
                .collect();
        if windows.len() > WINDOWS_MAX {
            let reason =
                format!("there are {} windows, and at most {WINDOWS_MAX} are looked at", windows.len());
            self.error("too-many", "update.windows", reason, "join some of them");
        } else if !windows.is_empty() {
            let spans = open(&[&windows], 0, WEEK..2 * WEEK);
            let total: i64 = spans.iter().map(|span| span.end - span.start).sum();
            if total < HOUR {
                let reason =
                    format!("the windows are open for {} min a week, and an update takes longer", total / 60);
                self.warn(
                    "short-window",
                    "update.windows",
                    reason,
                    "give it an hour or more; an update that has begun goes on",
                );
            }
        }
        let announce = seed.text("update.mode").is_none_or(|mode| mode == "announce");
        if announce && !windows.is_empty() && !seed.is_bad("update.mode") {
            self.warn(
                "unused",
                "update.windows",
                "there are windows, and nothing begins by itself",
                "write mode = \"automatic\", or take the windows out",
            );
        }
        if seed.written("update.zone") && windows.is_empty() && !seed.is_bad("update.windows") {
            self.warn("unused", "update.zone", "there is no window that is in it", "take it out");
        }
    }
}

//! Values that must not be seen: they never print themselves and are wiped from memory when dropped.

use std::fmt;

use zeroize::Zeroize;

/// A piece of text that must not be printed, for example a password. `Debug` and `Display` say `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value; the caller gives it away.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself. The name is long so that every place that takes it out can be found.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Fewest characters of a pair secret: 16 random bytes in base64 have 22.
pub const PAIR_SECRET_MIN: usize = 22;

/// Why a pair secret is too weak, or `None` when it will do.
///
/// This cannot measure randomness; it catches words, repeated letters and cut-off copies.
#[must_use]
pub fn weakness(secret: &str) -> Option<String> {
    let length = secret.chars().count();
    if length < PAIR_SECRET_MIN {
        return Some(format!(
            "the pair secret has {length} characters; fewer than {PAIR_SECRET_MIN} can be guessed"
        ));
    }
    let mut letters: Vec<char> = secret.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    if letters.len() < 8 {
        return Some(format!("the pair secret has only {} different characters", letters.len()));
    }
    if secret.chars().any(char::is_control) {
        return Some("the pair secret has line breaks or control characters in it".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("correct horse".to_owned());
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "[redacted] [redacted] Some([redacted])"
        );
    }

    #[test]
    fn weak_secrets_are_named() {
        assert!(weakness("short").is_some());
        assert!(weakness("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").is_some());
        assert!(weakness("0123456789abcdef0123456789\nabcdef").is_some());
        assert_eq!(weakness("qJ4v9TzXn2Lr8sWc5Yb1Kd7H"), None);
    }
}

//! Versions of the system, ordered as the boot loader orders them.

use std::cmp::Ordering;
use std::fmt;

/// A version: 1 to 64 of ASCII letters, digits and `. - ~ ^`, beginning with a letter or digit.
///
/// Two versions are in the order of the UAPI Version Format Specification, because systemd-boot boots the highest entry
/// by that order: what this library calls newer must be what the loader prefers.
#[derive(Debug, Clone)]
pub struct Version(String);

impl Version {
    /// Reads a version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-~^".contains(&byte);
        let first = text.bytes().next()?;
        (text.len() <= 64 && first.is_ascii_alphanumeric() && text.bytes().all(good))
            .then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        uapi_version::strverscmp(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        Version::parse(text).expect("a version")
    }

    /// The specification's own examples, in rising order.
    #[test]
    fn order_of_the_specification() {
        for (low, high) in [
            ("11", "12"),
            ("systemd-123", "systemd-124"),
            ("bar-123", "foo-123"),
            ("123", "123a"),
            ("123", "123.a"),
            ("123.a", "123.b"),
            ("0.1.0~rc1", "0.1.0"),
            ("0.1.0~rc1", "0.1.0~rc2"),
            ("0.9.0", "0.10.0"),
            ("0.1.0", "0.1.0.1"),
            ("1.0-1", "1.0.1"),
            ("1.0", "1.0^post1"),
        ] {
            assert!(version(low) < version(high), "{low} < {high}");
            assert!(version(high) > version(low), "{high} > {low}");
        }
        for bad in ["", ".1", "1 0", "1_0", "1/0", "1+3", &"1".repeat(65), "é"] {
            assert!(Version::parse(bad).is_none(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn is_an_order(a in "[0-9a-c.~^-]{0,8}", b in "[0-9a-c.~^-]{0,8}", c in "[0-9a-c.~^-]{0,8}") {
            let [a, b, c] = [a, b, c].map(|text| version(&format!("1{text}")));
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c, "{a} {b} {c}");
            }
        }
    }
}

//! Versions of k3s, `v1.33.4+k3s1`: Kubernetes' version and k3s's own release of it.

use std::fmt;

/// A version of k3s, in the order of releases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
    release: u32,
}

/// How a cluster gets from one version to another. Source: Kubernetes, "Version Skew Policy"; k3s, "Upgrades".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is the same.
    Same,
    /// Allowed: another patch, or the next minor version.
    Allowed,
    /// More than one minor version at a time: the datastore's upgrade is only made for neighbours.
    TooFar,
    /// To an earlier minor version: what the newer one has stored is not undone.
    Backwards,
}

impl Version {
    /// Reads `v1.33.4+k3s1`. Anything else, a release candidate too, is no version that a pair runs.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kubernetes, release) = text.strip_prefix('v')?.split_once("+k3s")?;
        let mut numbers = kubernetes.split('.').map(number);
        let version = Self {
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
            release: number(release)?,
        };
        numbers.next().is_none().then_some(version)
    }

    /// Major and minor version.
    #[must_use]
    pub const fn minor(&self) -> (u32, u32) {
        (self.major, self.minor)
    }

    /// How a cluster gets from this version to another.
    #[must_use]
    pub fn step_to(&self, other: &Self) -> Step {
        if self == other {
            return Step::Same;
        }
        match (self.major == other.major, other.minor.checked_sub(self.minor)) {
            (true, Some(0 | 1)) => Step::Allowed,
            (true, Some(_)) => Step::TooFar,
            (true, None) => Step::Backwards,
            (false, _) if other.major < self.major => Step::Backwards,
            (false, _) => Step::TooFar,
        }
    }

    /// The versions that a program's bytes name, each once, in order. What was linked with a version has it in its data
    /// as text (Go's `-X`).
    #[must_use]
    pub fn found_in(bytes: &[u8]) -> Vec<Self> {
        const MARK: &[u8] = b"+k3s";
        let mut found: Vec<Self> = Vec::new();
        for at in places_of(bytes, MARK) {
            let word = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
            let before = bytes[..at].iter().rev().take(24).take_while(|byte| word(byte)).count();
            let after =
                bytes[at + MARK.len()..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
            let Some(start) = (at - before).checked_sub(1) else { continue };
            let text = String::from_utf8_lossy(&bytes[start..at + MARK.len() + after]);
            found.extend(Self::parse(&text));
        }
        found.sort();
        found.dedup();
        found
    }
}

/// Decimal digits without a leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text.len() == 1 || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// Where a word begins in bytes.
fn places_of<'a>(bytes: &'a [u8], word: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .iter()
        .enumerate()
        .filter(move |(_, byte)| word.first() == Some(byte))
        .filter(move |(at, _)| bytes[*at..].starts_with(word))
        .map(|(at, _)| at)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}+k3s{}", self.major, self.minor, self.patch, self.release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn what_is_a_version() {
        assert_eq!(version("v1.33.4+k3s1").minor(), (1, 33));
        for wrong in
            ["", "1.33.4+k3s1", "v1.33+k3s1", "v1.33.4", "v1.33.4-rc1+k3s1", "v1.033.4+k3s1", "v1.33.4+k3s1 "]
        {
            assert_eq!(Version::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Version::parse("v1.33.4.5+k3s1"), None);
        assert!(version("v1.33.10+k3s1") > version("v1.33.9+k3s2"), "numbers, not text");
    }

    #[test]
    fn one_minor_version_at_a_time_and_never_back() {
        let now = version("v1.33.4+k3s1");
        for (to, step) in [
            ("v1.33.4+k3s1", Step::Same),
            ("v1.33.5+k3s1", Step::Allowed),
            ("v1.33.4+k3s2", Step::Allowed),
            ("v1.33.1+k3s1", Step::Allowed),
            ("v1.34.0+k3s1", Step::Allowed),
            ("v1.35.0+k3s1", Step::TooFar),
            ("v1.32.9+k3s1", Step::Backwards),
            ("v2.33.4+k3s1", Step::TooFar),
            ("v0.33.4+k3s1", Step::Backwards),
        ] {
            assert_eq!(now.step_to(&version(to)), step, "{to}");
        }
    }

    #[test]
    fn a_program_names_its_version() {
        let text =
            |bytes: &[u8]| Version::found_in(bytes).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(b"\0\0v1.33.4+k3s1\0xx v1.33.4+k3s1x+k3s"), ["v1.33.4+k3s1"]);
        assert_eq!(text(b"v1.33.4+k3s1 v1.34.1+k3s1").len(), 2);
        assert_eq!(text(b"+k3s1"), [""; 0]);
        assert_eq!(text(b"1.33.4+k3s1"), [""; 0]);
    }

    proptest! {
        #[test]
        fn text_and_version_are_the_same(major in 0..3_u32, minor: u16, patch: u16, release in 1..20_u32) {
            let text = format!("v{major}.{minor}.{patch}+k3s{release}");
            prop_assert_eq!(version(&text).to_string(), text);
        }

        #[test]
        fn any_text_and_bytes_are_survived(text: String, bytes: Vec<u8>) {
            let _ = Version::parse(&text);
            let _ = Version::found_in(&bytes);
        }
    }
}

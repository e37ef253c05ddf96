//! Licence names out of Debian's copyright files.
//!
//! Most follow the machine-readable format (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>), whose
//! short names differ from SPDX's. What has no SPDX name keeps Debian's; what has no names at all is named by the common
//! licence texts that it points to.

use std::collections::BTreeSet;

/// A licence as a bill of materials names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Licence {
    /// An identifier of the SPDX licence list.
    Spdx(String),
    /// A name that the package's author gave.
    Named(String),
}

/// Debian's short name (lower case) and the SPDX identifier.
const SPDX: &[(&str, &str)] = &[
    ("0bsd", "0BSD"),
    ("afl-2.1", "AFL-2.1"),
    ("agpl-3", "AGPL-3.0-only"),
    ("agpl-3+", "AGPL-3.0-or-later"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("curl", "curl"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gplv2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gplv3+", "GPL-3.0-or-later"),
    ("isc", "ISC"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.0+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgplv2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgplv3+", "LGPL-3.0-or-later"),
    ("mit", "MIT"),
    ("mpl-2.0", "MPL-2.0"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("postgresql", "PostgreSQL"),
    ("unicode-dfs-2016", "Unicode-DFS-2016"),
    ("unlicense", "Unlicense"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
];

/// All licences that a copyright file names, sorted.
pub fn of_copyright(text: &str) -> Vec<Licence> {
    let machine_readable = text.lines().take(20).any(|line| line.to_ascii_lowercase().starts_with("format:"));
    let mut found = BTreeSet::new();
    if machine_readable {
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            // A continuation line begins with a space.
            if key.eq_ignore_ascii_case("license") && !value.trim().is_empty() {
                found.extend(names(value.trim()));
            }
        }
    }
    if found.is_empty() {
        found.extend(pointed_to(text));
    }
    if found.is_empty() {
        found.insert(Licence::Named("see the package's copyright file in the image".to_owned()));
    }
    found.into_iter().collect()
}

/// `GPL-2+ or Artistic, and Expat` names three licences.
fn names(value: &str) -> Vec<Licence> {
    let mut words: Vec<String> = vec![String::new()];
    for word in value.split_whitespace() {
        let (word, ends) = word.strip_suffix(',').map_or((word, false), |word| (word, true));
        if matches!(word.to_ascii_lowercase().as_str(), "or" | "and" | "and/or") {
            words.push(String::new());
            continue;
        }
        if let Some(last) = words.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
        if ends {
            words.push(String::new());
        }
    }
    words.into_iter().filter(|name| !name.is_empty()).map(|name| one(&name)).collect()
}

fn one(name: &str) -> Licence {
    let lower = name.to_ascii_lowercase();
    match SPDX.iter().find(|(debian, _)| *debian == lower) {
        Some((_, spdx)) => Licence::Spdx((*spdx).to_owned()),
        // A sentence instead of a name: what it says stands in the file.
        None if name.chars().count() > 60 => Licence::Named(name.chars().take(57).collect::<String>() + "…"),
        None => Licence::Named(name.to_owned()),
    }
}

/// Texts in `/usr/share/common-licenses` that a free-form file points to.
fn pointed_to(text: &str) -> Vec<Licence> {
    const MARK: &str = "/usr/share/common-licenses/";
    text.match_indices(MARK)
        .map(|(at, _)| {
            let rest = &text[at + MARK.len()..];
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)).unwrap_or(rest.len());
            rest[..end].trim_end_matches('.').to_owned()
        })
        .filter(|name| !name.is_empty())
        // Whether "or any later version" holds is in words around it, so this stays a name.
        .map(Licence::Named)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_readable_files_give_spdx_names() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ or Artistic, and Expat\n\
                    \nLicense: GPL-2+\n License: not a field\n\nLicense: binary-redist-Intel\n";
        let spdx = |name: &str| Licence::Spdx(name.into());
        assert_eq!(
            of_copyright(text),
            [
                spdx("Artistic-1.0-Perl"),
                spdx("GPL-2.0-or-later"),
                spdx("MIT"),
                Licence::Named("binary-redist-Intel".into())
            ]
        );
    }

    #[test]
    fn free_form_files_are_named_by_what_they_point_to() {
        let text = "It is in `/usr/share/common-licenses/GPL-2'. And /usr/share/common-licenses/LGPL-2.1.\n";
        assert_eq!(of_copyright(text), [Licence::Named("GPL-2".into()), Licence::Named("LGPL-2.1".into())]);
        assert_eq!(of_copyright("nothing").len(), 1);
    }
}

//! Where Debian packages come from: the definition's mirrors, else those of the host's own apt.
//!
//! Suite names are mapped (a Debian 12 host may build a Debian 13 image), third-party entries are ignored.

use crate::definition::Definition;
use std::collections::BTreeSet;
use std::path::Path;

/// Key ring with which archive signatures are checked, on the host and inside the tools tree.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt's one-line sources for a suite, empty when neither the definition nor the host names a mirror (then
/// mmdebstrap's own default holds).
pub fn lines(definition: &Definition, host: impl Fn() -> Vec<(String, String)>) -> Vec<String> {
    let components: Vec<&str> = definition.components.iter().map(|name| name.value.as_str()).collect();
    let suite = definition.suite.value.as_str();
    let mut pairs: BTreeSet<(String, String)> = BTreeSet::new();
    if definition.mirrors.is_empty() {
        for (uri, kind) in host() {
            pairs.insert((uri, format!("{suite}{kind}")));
        }
    } else {
        for mirror in &definition.mirrors {
            let uri = mirror.value.trim_end_matches('/').to_owned();
            if uri.ends_with("-security") {
                pairs.insert((uri, format!("{suite}-security")));
            } else {
                pairs.insert((uri.clone(), suite.to_owned()));
                pairs.insert((uri, format!("{suite}-updates")));
            }
        }
    }
    pairs.into_iter().map(|(uri, suite)| format!("deb {uri} {suite} {}", components.join(" "))).collect()
}

/// The host's Debian mirrors: URI and what follows the code name (`""`, `-updates`, `-security`).
pub fn of_host() -> Vec<(String, String)> {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let os_release = read(Path::new("/etc/os-release"));
    let code_name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or_default()
        .to_owned();
    let is_debian = os_release.lines().any(|line| line == "ID=debian");
    if !is_debian || code_name.is_empty() {
        return Vec::new();
    }
    let mut entries = parse_one_line(&read(Path::new("/etc/apt/sources.list")));
    let listed = std::fs::read_dir("/etc/apt/sources.list.d")
        .map(|dir| dir.flatten().collect::<Vec<_>>())
        .unwrap_or_default();
    let mut paths: Vec<_> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => entries.extend(parse_one_line(&read(&path))),
            Some("sources") => entries.extend(parse_deb822(&read(&path))),
            _ => {}
        }
    }
    debian_only(entries, &code_name)
}

/// Keeps entries of the Debian release `code_name` and turns their suite into a suffix.
fn debian_only(entries: Vec<(String, String)>, code_name: &str) -> Vec<(String, String)> {
    let mut kept = BTreeSet::new();
    for (uri, suite) in entries {
        let suffix = suite.strip_prefix(code_name).or_else(|| suite.strip_prefix("stable"));
        if let Some(suffix @ ("" | "-updates" | "-security")) = suffix {
            kept.insert((uri.trim_end_matches('/').to_owned(), suffix.to_owned()));
        }
    }
    kept.into_iter().collect()
}

/// `deb [options] URI SUITE COMPONENT…` (sources.list(5)).
fn parse_one_line(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
            let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

/// `Types:`/`URIs:`/`Suites:` stanzas (sources.list(5), DEB822 style).
fn parse_deb822(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| -> Vec<String> {
            stanza
                .lines()
                .filter(|line| !line.starts_with('#'))
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        if !field("Types").iter().any(|kind| kind == "deb")
            || field("Enabled").iter().any(|value| value == "no")
        {
            continue;
        }
        for uri in field("URIs") {
            all.extend(field("Suites").into_iter().map(|suite| (uri.clone(), suite)));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_third_parties_left_out() {
        let one_line = "# x\ndeb [signed-by=/k] http://mirror.example/debian bookworm main # y\ndeb-src http://s bookworm main\n\
                        deb https://third.example/repo nodistro main\n";
        let deb822 = "Types: deb\n# comment\nURIs: http://mirror.example/debian/ \nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                      Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n\n\
                      Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\n";
        let mut entries = parse_one_line(one_line);
        assert_eq!(entries.len(), 2);
        entries.extend(parse_deb822(deb822));
        let kept = debian_only(entries, "bookworm");
        let want = [
            ("http://mirror.example/debian", ""),
            ("http://mirror.example/debian", "-updates"),
            ("http://mirror.example/debian-security", "-security"),
        ];
        assert_eq!(kept, want.map(|(uri, suffix)| (uri.to_owned(), suffix.to_owned())));
    }
}

//! What k3s is told: options of the command line and of its configuration file (k3s documentation, "k3s server", "k3s
//! agent", "Configuration File"). An option that k3s does not have is refused, as k3s refuses it.

mod file;
mod table;

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::{Takes, Verb};

pub use table::Verb as Role;

/// Where k3s looks for its configuration unless told.
const DEFAULT_CONFIG: &str = "/etc/rancher/k3s/config.yaml";

/// Options, each with all its values in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<&'static str, Vec<String>>,
}

impl Options {
    /// Reads the command line after the verb, and the configuration file it names.
    ///
    /// # Errors
    /// When an option is unknown or has no value, or the file cannot be read.
    pub fn read(verb: Role, words: &[String]) -> anyhow::Result<Self> {
        let mut given = Self::default();
        given.command_line(verb, words)?;
        let named = given
            .text("config")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("K3S_CONFIG_FILE").map(Into::into));
        let path = named.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let mut options = Self::default();
        for part in parts(&path, named.is_some())? {
            let text = std::fs::read_to_string(&part).with_context(|| part.display().to_string())?;
            options.file(verb, &text).with_context(|| part.display().to_string())?;
        }
        for (name, values) in given.values {
            options.values.entry(name).or_default().extend(values);
        }
        Ok(options)
    }

    fn command_line(&mut self, verb: Verb, words: &[String]) -> anyhow::Result<()> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(rest) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                bail!("{word} is no option of k3s {verb}");
            };
            let (name, value) = match rest.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (rest, None),
            };
            let option =
                table::find(verb, name).with_context(|| format!("flag provided but not defined: -{name}"))?;
            let value = match (value, option.takes) {
                (Some(value), _) => value,
                (None, Takes::Switch) => "true".into(),
                (None, _) => {
                    words.next().with_context(|| format!("flag needs an argument: -{name}"))?.clone()
                }
            };
            self.push(option.name, option.takes, &value)?;
        }
        Ok(())
    }

    fn file(&mut self, verb: Verb, text: &str) -> anyhow::Result<()> {
        for (key, values) in file::parse(text)? {
            let (name, appends) = match key.strip_suffix('+') {
                Some(name) => (name, true),
                None => (&*key, false),
            };
            let option =
                table::find(verb, name).with_context(|| format!("flag provided but not defined: -{name}"))?;
            if !appends {
                self.values.remove(option.name);
            }
            for value in values {
                self.push(option.name, option.takes, &value)?;
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &'static str, takes: Takes, value: &str) -> anyhow::Result<()> {
        let fits = match takes {
            Takes::Switch => value.parse::<bool>().is_ok(),
            Takes::Number => value.parse::<i64>().is_ok(),
            Takes::Time => seconds(value).is_some(),
            Takes::Text | Takes::List => true,
        };
        if !fits {
            bail!("invalid value \"{value}\" for flag -{name}");
        }
        self.values.entry(name).or_default().push(value.to_owned());
        Ok(())
    }

    /// The value that counts: the last one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All values; one with commas is several.
    pub fn list(&self, name: &str) -> Vec<String> {
        let all = self.values.get(name).into_iter().flatten();
        all.flat_map(|value| value.split(',')).filter(|value| !value.is_empty()).map(str::to_owned).collect()
    }

    /// Whether a switch is on.
    pub fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// A number.
    pub fn number(&self, name: &str, default: u16) -> u16 {
        self.text(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    /// What is handed on to a component: the value of `key` in `component`-arg.
    pub fn handed_on(&self, component: &str, key: &str) -> Option<&str> {
        let all = self.values.get(&*format!("{component}-arg"))?;
        let value = |text: &'_ String| {
            text.trim_start_matches("--").split_once('=').is_some_and(|(name, _)| name == key)
        };
        let last = all.iter().rev().find(|text| value(text))?;
        last.split_once('=').map(|(_, value)| value)
    }

    /// A time that is handed on to a component, in seconds.
    pub fn handed_on_seconds(&self, component: &str, key: &str, default: f64) -> f64 {
        self.handed_on(component, key).and_then(seconds).unwrap_or(default)
    }

    /// A secret given by value or by file.
    pub fn secret(&self, name: &str) -> anyhow::Result<Option<String>> {
        if let Some(value) = self.text(name) {
            return Ok(Some(value.to_owned()));
        }
        let Some(path) = self.text(&format!("{name}-file")) else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        Ok(Some(text.trim().to_owned()))
    }
}

/// The file and its drop-ins, those that are there.
fn parts(path: &Path, named: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    if path.exists() {
        all.push(path.to_owned());
    } else if named {
        bail!("the configuration file {} is not there", path.display());
    }
    let mut folder = path.as_os_str().to_owned();
    folder.push(".d");
    let mut more: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml"))
        .collect();
    more.sort();
    all.extend(more);
    Ok(all)
}

/// Seconds in a duration as Go writes it: `60s`, `1m30s`, `500ms`.
pub fn seconds(text: &str) -> Option<f64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..unit] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn read(verb: Role, text: &str) -> anyhow::Result<Options> {
        let mut options = Options::default();
        options.command_line(verb, &words(text)).map(|()| options)
    }

    #[test]
    fn an_option_that_k3s_does_not_have_is_refused() {
        for (verb, text) in [
            (Role::Server, "--no-such-option=1"),
            (Role::Agent, "--datastore-endpoint sqlite://x"),
            (Role::Server, "--https-listen-port many"),
            (Role::Server, "--disable-agent=perhaps"),
            (Role::Server, "--token"),
            (Role::Server, "word"),
        ] {
            assert!(read(verb, text).is_err(), "{text}");
        }
        let mut options = Options::default();
        assert!(options.file(Role::Server, "no-such-option: true\n").is_err());
        assert!(options.file(Role::Agent, "{\"tls-san\": [\"x\"]}").is_err());
    }

    #[test]
    fn the_last_value_counts_and_lists_grow() {
        let options =
            read(Role::Server, "--token one -t two --tls-san a,b --tls-san=c --disable-agent").unwrap();
        assert_eq!(options.text("token"), Some("two"));
        assert_eq!(options.list("tls-san"), ["a", "b", "c"]);
        assert!(options.on("disable-agent"));
    }

    #[test]
    fn a_rendered_file_is_read() {
        let mut options = Options::default();
        options
            .file(
                Role::Server,
                "# written by somebody\n{\n \"tls-san\": [\"a\", \"b\"],\n \"https-listen-port\": 6443,\n \
                 \"kube-controller-manager-arg\": [\"leader-elect-lease-duration=60s\", \"leader-elect-renew-deadline=45s\"]\n}\n",
            )
            .unwrap();
        options.file(Role::Server, "tls-san+:\n  - c\ndisable: traefik\n").unwrap();
        assert_eq!(options.list("tls-san"), ["a", "b", "c"]);
        assert_eq!(options.number("https-listen-port", 1), 6443);
        let deadline = |default| {
            options.handed_on_seconds("kube-controller-manager", "leader-elect-renew-deadline", default)
        };
        assert!((deadline(10.0) - 45.0).abs() < f64::EPSILON);
        assert_eq!(options.handed_on("kube-scheduler", "leader-elect-renew-deadline"), None);
    }

    #[test]
    fn times_are_gos() {
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("5"), None);
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("soon"), None);
    }
}

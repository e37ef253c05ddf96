//! `k3s kubectl`: hands over to a real `kubectl` where there is one; else does the little that the pair's software needs,
//! with kubectl's own words and options. What it does not know it refuses.

mod configuration;
mod drain;
mod verbs;

use crate::api::kinds::Kind;
use crate::client::Client;
use anyhow::{Context, bail};
use edgepair_host_io::Invocation;
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

/// Says that it was called by itself, so that two links to it do not call each other.
const GUARD: &str = "K3S_STAND_IN_KUBECTL";

/// Options of this one: whether they take a value.
const OPTIONS: &[(&str, bool)] = &[
    ("kubeconfig", true),
    ("namespace", true),
    ("all-namespaces", false),
    ("output", true),
    ("selector", true),
    ("field-selector", true),
    ("raw", true),
    ("filename", true),
    ("overwrite", false),
    ("force", false),
    ("grace-period", true),
    ("ignore-not-found", false),
    ("wait", false),
    ("now", false),
    ("timeout", true),
    ("request-timeout", true),
    ("ignore-daemonsets", false),
    ("delete-emptydir-data", false),
    ("disable-eviction", false),
    ("skip-wait-for-delete-timeout", true),
    ("patch", true),
    ("type", true),
    ("subresource", true),
    ("no-headers", false),
    ("show-labels", false),
    ("server-side", false),
    ("force-conflicts", false),
    ("field-manager", true),
    ("validate", false),
    ("all", false),
    ("client", false),
    ("dry-run", true),
];

/// Short forms.
const SHORT: &[(&str, &str)] = &[
    ("n", "namespace"),
    ("A", "all-namespaces"),
    ("o", "output"),
    ("l", "selector"),
    ("f", "filename"),
    ("p", "patch"),
];

/// What was asked for.
#[derive(Debug, Default)]
pub struct Call {
    /// Words that are no options.
    words: Vec<String>,
    options: BTreeMap<&'static str, String>,
}

impl Call {
    fn parse(given: &[String]) -> anyhow::Result<Self> {
        let mut call = Self::default();
        let mut given = given.iter();
        while let Some(word) = given.next() {
            let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                call.words.push(word.clone());
                continue;
            };
            let rest = rest.strip_prefix('-').unwrap_or(rest);
            let (name, value) =
                rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value.to_owned())));
            let name = SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long);
            let (name, takes) = OPTIONS
                .iter()
                .find(|(known, _)| *known == name)
                .with_context(|| format!("unknown flag: {word}"))?;
            let value = match value {
                Some(value) => value,
                None if *takes => {
                    given.next().with_context(|| format!("flag needs an argument: {word}"))?.clone()
                }
                None => "true".into(),
            };
            call.options.insert(name, value);
        }
        Ok(call)
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    fn on(&self, name: &str) -> bool {
        self.option(name) == Some("true")
    }

    fn namespace(&self) -> Option<&str> {
        if self.on("all-namespaces") { None } else { Some(self.option("namespace").unwrap_or("default")) }
    }

    /// Kind and names from `TYPE NAME…` or `TYPE/NAME…`.
    fn targets(&self, from: usize) -> anyhow::Result<(&'static Kind, Vec<String>)> {
        let first = self.words.get(from).context("You must specify the type of resource")?;
        let meant = |word: &str| {
            Kind::meant(word).with_context(|| format!("the server doesn't have a resource type \"{word}\""))
        };
        match first.split_once('/') {
            Some((kind, name)) => Ok((meant(kind)?, vec![name.to_owned()])),
            None => Ok((meant(first)?, self.words[from + 1..].to_vec())),
        }
    }

    /// The text of the file that is named.
    fn file(&self) -> anyhow::Result<String> {
        let path = self.option("filename").context("must specify -f")?;
        if path != "-" {
            return std::fs::read_to_string(path).with_context(|| path.to_owned());
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Runs it.
pub fn run(words: &[String]) -> ExitCode {
    if let Some(real) = real() {
        let default = std::env::var("KUBECONFIG").unwrap_or_else(|_| crate::server::KUBECONFIG.into());
        let call = Invocation::new(real.to_string_lossy()).args(words.iter().cloned());
        let error = call.env("KUBECONFIG", default).env(GUARD, "1").to_command().exec();
        eprintln!("{}: {error}", real.display());
        return ExitCode::FAILURE;
    }
    match own(words) {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{error:#}");
            eprintln!("{}{text}", if text.starts_with("Error from server") { "" } else { "error: " });
            ExitCode::FAILURE
        }
    }
}

/// A `kubectl` that is not this program.
fn real() -> Option<PathBuf> {
    if std::env::var_os(GUARD).is_some() {
        return None;
    }
    let own = std::fs::canonicalize("/proc/self/exe").ok()?;
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|path| std::fs::canonicalize(path).is_ok_and(|real| real != own && real.is_file()))
}

fn own(words: &[String]) -> anyhow::Result<ExitCode> {
    let call = Call::parse(words)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = || configuration::client(call.option("kubeconfig"));
        match call.words.first().map(String::as_str) {
            Some("get") => verbs::get(&call, &client()?).await,
            Some("taint") => verbs::taint(&call, &client()?).await,
            Some(verb @ ("annotate" | "label")) => verbs::note(&call, &client()?, verb).await,
            Some(verb @ ("cordon" | "uncordon")) => {
                for name in &call.words[1..] {
                    drain::cordon(&client()?, name, verb == "cordon").await?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Some("drain") => drain::drain(&call, &client()?).await,
            Some("delete") => verbs::delete(&call, &client()?).await,
            Some(verb @ ("create" | "apply")) => verbs::make(&call, &client()?, verb == "apply").await,
            Some("patch") => verbs::patch(&call, &client()?).await,
            Some("version") => {
                println!("Client Version: {} (k3s-stand-in)", crate::version::own());
                if !call.on("client") {
                    let version = client()?.get("/version").await?;
                    println!("Server Version: {}", version["gitVersion"].as_str().unwrap_or_default());
                }
                Ok(ExitCode::SUCCESS)
            }
            other => bail!("the stand-in's kubectl has no {}", other.unwrap_or("command")),
        }
    })
}

/// The path of a kind's objects for this call.
fn path(call: &Call, kind: &Kind, name: Option<&str>) -> String {
    kind.path(call.namespace(), name)
}

/// A client inside, for the modules.
type Api = Client;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Call> {
        Call::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn calls_are_read_as_kubectl_reads_them() {
        let call = parse("delete pod x -n kube-system --force --grace-period=0 --timeout 5s").unwrap();
        let (kind, names) = call.targets(1).unwrap();
        assert_eq!((kind.kind, &names[..]), ("Pod", &["x".to_owned()][..]));
        assert_eq!(call.namespace(), Some("kube-system"));
        assert_eq!(call.option("grace-period"), Some("0"));
        assert!(call.on("force"));
        let call = parse("get node/a -o json").unwrap();
        assert_eq!(call.targets(1).unwrap().1, ["a"]);
        let call = parse("taint node a gone:NoExecute-").unwrap();
        assert_eq!(call.words[3], "gone:NoExecute-");
        assert!(parse("get pods --colour").is_err());
        assert!(parse("get pods -n").is_err());
        assert!(parse("get deployments").unwrap().targets(1).is_err());
    }
}

//! `node-init witness status|enrol|forget|restored|fingerprint`: on the witness, by its operator.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::Value;

use super::Place;
use crate::witness::admin::{Command, Enrolment, give_to_owner, say};
use crate::witness::identity::Identity;

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    place: Place,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    /// List every pair with its record.
    #[arg(long)]
    pairs: bool,
}

#[derive(Debug, Args)]
pub(super) struct Enrol {
    #[command(flatten)]
    place: Place,
    /// What people call the pair: `pair.name` of its seed.
    #[arg(long, requires = "keys", required_unless_present = "from")]
    name: Option<String>,
    /// The pair's public key, printed by `pair-key`.
    #[arg(long, value_name = "ed25519:HEX", group = "keys")]
    key: Option<String>,
    /// Or the file with the pair secret, from which the key follows.
    #[arg(long, value_name = "FILE", group = "keys")]
    secret_file: Option<PathBuf>,
    /// Many pairs: a file with a name and a key on each line. All are enrolled, or none.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "keys"])]
    from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Forget {
    #[command(flatten)]
    place: Place,
    /// The pair's name.
    #[arg(long)]
    name: String,
}

#[derive(Debug, Args)]
pub(super) struct Restored {
    #[command(flatten)]
    place: Place,
    /// Yes, every pair shall become unknown, and be paired again by its connected nodes.
    #[arg(long, required = true)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fingerprint {
    #[command(flatten)]
    place: Place,
}

fn ask(place: &Place, command: Command) -> anyhow::Result<Value> {
    let stamp_dir = place.prepare()?;
    super::runtime()?.block_on(say(&place.data_dir, &stamp_dir, command))
}

pub(super) fn status(arguments: &Status) -> anyhow::Result<()> {
    if !arguments.place.data_dir.join("witness.db").exists() {
        bail!(
            "there is no witness in {}; `node-init witness serve` makes one",
            arguments.place.data_dir.display()
        );
    }
    let status = ask(&arguments.place, Command::Status { pairs: arguments.pairs })?;
    if arguments.json {
        println!("{status}");
        return Ok(());
    }
    let count = |name: &str| status["pairs"][name].as_u64().unwrap_or_default();
    println!("fingerprint  {}", status["fingerprint"].as_str().unwrap_or_default());
    println!("pairs        {} paired, {} solo, {} unknown", count("paired"), count("solo"), count("unknown"));
    if let Some(counters) = status["counters"].as_object() {
        for (name, value) in counters {
            println!("{name:<16} {value}");
        }
    }
    for pair in status["list"].as_array().into_iter().flatten() {
        let (name, record) = (pair["name"].as_str().unwrap_or_default(), &pair["record"]);
        println!("{name:<32} epoch {:<8} {}", record["epoch"], record["holder"]);
    }
    Ok(())
}

pub(super) fn enrol(arguments: &Enrol) -> anyhow::Result<()> {
    let pairs = match (&arguments.from, &arguments.name) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            lines(&text).with_context(|| file.display().to_string())?
        }
        (None, Some(name)) => {
            let key = match (&arguments.key, &arguments.secret_file) {
                (Some(key), _) => key.clone(),
                (None, Some(file)) => super::key_of(file, name)?.id().to_string(),
                (None, None) => bail!("--key or --secret-file is needed"),
            };
            vec![Enrolment { name: name.clone(), key }]
        }
        (None, None) => bail!("--name or --from is needed"),
    };
    let done = ask(&arguments.place, Command::Enrol { pairs })?;
    println!("{} enrolled, {} were enrolled already", done["new"], done["already"]);
    Ok(())
}

fn lines(text: &str) -> anyhow::Result<Vec<Enrolment>> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (None, ..) => {}
            (Some(comment), ..) if comment.starts_with('#') => {}
            (Some(name), Some(key), None) => all.push(Enrolment { name: name.into(), key: key.into() }),
            _ => bail!("line {}: a name and a key are needed, and nothing else", number + 1),
        }
    }
    Ok(all)
}

pub(super) fn forget(arguments: Forget) -> anyhow::Result<()> {
    let Forget { place, name } = arguments;
    ask(&place, Command::Forget { name: name.clone() })?;
    println!("{name} is forgotten");
    Ok(())
}

pub(super) fn restored(arguments: &Restored) -> anyhow::Result<()> {
    let done = ask(&arguments.place, Command::Restored)?;
    println!(
        "{} pairs are unknown now; each is paired again once both its nodes are connected",
        done["unknown"]
    );
    Ok(())
}

pub(super) fn fingerprint(arguments: &Fingerprint) -> anyhow::Result<()> {
    arguments.place.prepare()?;
    let identity = Identity::load_or_create(&arguments.place.data_dir)?;
    give_to_owner(&arguments.place.data_dir)?;
    println!("{}", identity.fingerprint);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_pairs_is_read_line_by_line() {
        let all = lines("# sites\n\nsite-1 ed25519:aa\n  site-2\ted25519:bb  \n").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].name.as_str(), all[1].key.as_str()), ("site-2", "ed25519:bb"));
        let error = lines("site-1 ed25519:aa\nsite-2\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(lines("site-1 ed25519:aa extra").is_err());
    }
}

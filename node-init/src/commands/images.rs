//! `node-init images`: archives of container images from beside the seed.

use crate::extension::images::{FOLDER, Target};
use crate::facts::Facts;
use crate::member::Place;
use crate::provision::clock;
use crate::provision::seed::source;
use clap::Args;
use edgepair_host_io::HostRunner;
use std::path::PathBuf;
use std::time::Duration;

/// k3s waits for this at boot, and an update's trial for k3s. Less than the unit's own limit: a unit that fails would keep a
/// version that is well from being called so.
const LIMIT: Duration = Duration::from_secs(8 * 60);

/// `node-init images`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Take them from this folder instead.
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
}

/// Runs it. At boot, what cannot be copied is a problem for a person and no failure: k3s starts without it.
///
/// # Errors
/// With `--from`, what could not be copied.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (place, facts) = (Place::default(), Facts::default());
    let told = |words: &str, names: &[String]| match names {
        [] => println!("nothing new in {words}"),
        names => println!("from {words}: {}", names.join(", ")),
    };
    // Held before anything is mounted: two of these would take each other's mount away.
    let target = Target::hold(&place)?;
    if let Some(folder) = &arguments.from {
        told(&folder.display().to_string(), &target.import(folder, &|| false)?);
        return Ok(());
    }
    let begun = clock()?;
    let over = || clock().is_ok_and(|now| now - begun >= LIMIT);
    let mut why = Vec::new();
    for (words, device) in source::places(&HostRunner, |error| why.push(format!("USB sticks: {error:#}"))) {
        // A seed alone is what most of them hold.
        let found = source::look_at(&device, |root| {
            let folder = root.join(FOLDER);
            if folder.is_dir() { target.import(&folder, &over).map(Some) } else { Ok(None) }
        });
        match found {
            Ok(None) => {}
            Ok(Some(names)) => told(&words, &names),
            Err(error) => why.push(format!("{words}: {error:#}")),
        }
    }
    if why.is_empty() {
        return Ok(facts.clear("images")?);
    }
    eprintln!("node-init: {}", why.join("; "));
    Ok(facts.problem(
        "images",
        format!("archives of container images beside the seed were not taken: {}", why.join("; ")),
        "`systemctl restart edgepair-images` tries again; `node-init images --from FOLDER` takes them from elsewhere",
    )?)
}

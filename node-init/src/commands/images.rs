//! `node-init images`: archives of container images from beside the seed.

use crate::extension::images::{FOLDER, import};
use crate::facts::Facts;
use crate::member::Place;
use crate::provision::seed::source;
use clap::Args;
use edgepair_host_io::HostRunner;
use std::path::PathBuf;

/// `node-init images`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Take them from this folder instead.
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
}

/// Runs it. What cannot be copied is a problem for a person: k3s starts without it.
///
/// # Errors
/// When nothing can be noted.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (place, facts) = (Place::default(), Facts::default());
    let mut why = Vec::new();
    let mut take = |words: &str, result: anyhow::Result<Vec<String>>| match result {
        Ok(names) if names.is_empty() => {}
        Ok(names) => println!("from {words}: {}", names.join(", ")),
        Err(error) => why.push(format!("{words}: {error:#}")),
    };
    if let Some(folder) = &arguments.from {
        take(&folder.display().to_string(), import(&place, folder));
    } else {
        for (words, device) in source::places(&HostRunner)? {
            take(&words, source::look_at(&device, |root| import(&place, &root.join(FOLDER))));
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

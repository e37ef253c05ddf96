//! `edgepair cache`.

use crate::cli::CacheCommand;
use crate::definition::size;
use crate::engine::cache::{Cache, remove_tree};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs the subcommand.
///
/// # Errors
/// When the cache cannot be read or changed.
pub fn run(command: Option<CacheCommand>) -> anyhow::Result<ExitCode> {
    let cache = Cache::open()?;
    match command {
        None => show(&cache),
        Some(CacheCommand::Prune { tools }) => prune(&cache, tools),
        Some(CacheCommand::Verify) => verify(&cache),
    }
}

/// Results of each step, newest first.
fn results(cache: &Cache) -> anyhow::Result<Vec<(String, Vec<PathBuf>)>> {
    let mut all = Vec::new();
    for step in fs::read_dir(cache.path("steps"))?.flatten() {
        let mut dirs: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(step.path())?
            .flatten()
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        dirs.sort();
        dirs.reverse();
        all.push((
            step.file_name().to_string_lossy().into_owned(),
            dirs.into_iter().map(|(_, dir)| dir).collect(),
        ));
    }
    all.sort();
    Ok(all)
}

fn size_of(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of(&entry.path()),
            Ok(data) => data.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

fn show(cache: &Cache) -> anyhow::Result<ExitCode> {
    println!("cache at {}", cache.path("").display());
    for (step, dirs) in results(cache)? {
        let total: u64 = dirs.iter().map(|dir| size_of(dir)).sum();
        println!("  {step:<12} {:>3} results  {:>10}", dirs.len(), size::show(total));
    }
    for (name, what) in
        [("tools", "tools trees"), ("apt", "downloaded packages"), ("cargo", "compiler output")]
    {
        println!("  {what:<24}  {:>10}", size::show(size_of(&cache.path(name))));
    }
    Ok(ExitCode::SUCCESS)
}

fn prune(cache: &Cache, tools: bool) -> anyhow::Result<ExitCode> {
    let Some(_unused) = cache.unused() else {
        bail!("a build is using the cache: nothing was removed\n  to do: run this again when it is done");
    };
    let mut freed = 0;
    for (_, dirs) in results(cache)? {
        for dir in dirs.iter().skip(1) {
            freed += size_of(dir);
            remove_tree(dir)?;
        }
    }
    if tools {
        for entry in fs::read_dir(cache.path("tools"))?.flatten() {
            freed += size_of(&entry.path());
            remove_tree(&entry.path()).context("a tools tree is in use")?;
        }
    }
    println!("{} freed", size::show(freed));
    Ok(ExitCode::SUCCESS)
}

fn verify(cache: &Cache) -> anyhow::Result<ExitCode> {
    let mut damaged = 0;
    for (step, dirs) in results(cache)? {
        for dir in dirs {
            if let Err(damage) = Cache::verify(&dir) {
                println!("{step}: {damage}; removed");
                remove_tree(&dir)?;
                damaged += 1;
            }
        }
    }
    println!("{damaged} damaged");
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

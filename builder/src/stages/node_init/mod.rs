//! node-init, compiled in the tools tree against the image's own libc.
//!
//! The host's cargo downloads the crates (it has the network and the user's settings); the tree's cargo compiles
//! them offline. The crate folder is always mounted at the same place, so that paths in the binary are the same.

mod parts;

pub use parts::Crate;

use super::tools::host_architecture;
use crate::definition::Definition;
use crate::definition::board::Board;
use crate::engine::cache::Cache;
use crate::engine::digest_of_folder;
use crate::engine::step::{Action, Input, Step};
use anyhow::{Context, bail};
use edgepair_host_io::sandbox::Mount;
use edgepair_host_io::{HostRunner, Invocation, Runner, digest};
use std::path::{Path, PathBuf};

/// Where the workspace's sources are: beside the running binary's checkout, or where the user says.
///
/// # Errors
/// When they cannot be found.
pub fn workspace() -> anyhow::Result<PathBuf> {
    let start = std::env::var_os("EDGEPAIR_SOURCE").map(PathBuf::from);
    let candidates = start
        .into_iter()
        .chain(std::env::current_dir().ok())
        .chain([PathBuf::from(env!("CARGO_MANIFEST_DIR"))]);
    for candidate in candidates {
        let found = candidate.ancestors().find(|dir| dir.join("node-init/Cargo.toml").is_file());
        if let Some(dir) = found {
            return Ok(dir.to_owned());
        }
    }
    bail!(
        "the sources of node-init are not found: run edgepair in its checkout, or set EDGEPAIR_SOURCE to it"
    )
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Downloads the crates that node-init needs, with the host's cargo.
///
/// # Errors
/// cargo's.
pub fn fetch(workspace: &Path, board: &Board) -> anyhow::Result<()> {
    let call = Invocation::new("cargo")
        .args(["fetch", "--locked", "--quiet", "--target", &board.architecture.rust_target])
        .cwd(workspace);
    HostRunner.run(&call).context(
        "the crates of node-init cannot be downloaded: is cargo installed and the crate registry reachable?",
    )?;
    Ok(())
}

/// Plans the step.
///
/// # Errors
/// When the sources cannot be read.
pub fn step(definition: &Definition, board: &Board, cache: &Cache, workspace: &Path) -> anyhow::Result<Step> {
    let architecture = &board.architecture;
    let mut inputs = vec![
        Input::Host {
            name: "Cargo.toml".into(),
            path: workspace.join("Cargo.toml"),
            digest: digest::of_file(&workspace.join("Cargo.toml"))?,
        },
        Input::Host {
            name: "Cargo.lock".into(),
            path: workspace.join("Cargo.lock"),
            digest: digest::of_file(&workspace.join("Cargo.lock"))?,
        },
    ];
    for folder in ["libs", "node-init"] {
        let path = workspace.join(folder);
        inputs.push(Input::Host { name: folder.into(), digest: digest_of_folder(&path)?, path });
    }
    let target = cache.path("cargo").join(&architecture.debian);
    std::fs::create_dir_all(&target)?;
    let home = cargo_home().context("neither CARGO_HOME nor HOME is set")?;
    let registry = home.join("registry");
    std::fs::create_dir_all(&registry)?;
    // cargo wants every member of the workspace to exist; those that are not part of a node are left out.
    let prepare = "mkdir -p src && cp -r /in/libs /in/node-init src/ && cp /in/Cargo.lock src/ && \
                   sed -e 's/^members = .*/members = [\"node-init\", \"libs\\/*\"]/' -e '/^default-members/d' /in/Cargo.toml > src/Cargo.toml";
    let metadata = format!(
        "exec cargo metadata --offline --format-version 1 --filter-platform {} --manifest-path /build/src/Cargo.toml",
        architecture.rust_target
    );
    let (crates_in, lock) = (registry.clone(), workspace.join("Cargo.lock"));
    let mut build = Action::run([
        "cargo",
        "build",
        "--offline",
        "--profile",
        "node",
        "--quiet",
        "--package",
        "node-init",
        "--target",
        &architecture.rust_target,
        "--manifest-path",
        "/build/src/Cargo.toml",
        "--target-dir",
        "/cargo/target",
    ])
    .env("CARGO_HOME", "/cargo/home")
    .env("SOURCE_DATE_EPOCH", definition.epoch.value.to_string())
    .env("RUSTFLAGS", "--remap-path-prefix=/build/src=/edgepair --remap-path-prefix=/cargo/home=/cargo");
    if architecture.debian != host_architecture() {
        let variable = architecture.rust_target.replace('-', "_");
        build = build
            .env(&format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &architecture.cross_linker)
            .env(&format!("CC_{variable}"), &architecture.cross_linker);
    }
    Ok(Step {
        name: "node-init",
        title: format!("node-init for {}", architecture.rust_target),
        inputs,
        files: Vec::new(),
        actions: vec![
            Action::run(["sh", "-c", prepare]),
            build,
            Action::run([
                "cp",
                &format!("/cargo/target/{}/node/node-init", architecture.rust_target),
                "node-init",
            ]),
            Action::run(["sh", "-c", &metadata]).env("CARGO_HOME", "/cargo/home").stdout("metadata.json"),
            Action::native(
                "lists the crates that node-init is made of, and their licence texts (1)",
                move |dir| parts::write(dir, &crates_in, &lock),
            ),
        ],
        outputs: vec!["node-init", "crates.json", "copyright"],
        network: false,
        mounts: vec![
            Mount { source: registry, target: "/cargo/home/registry".into(), writable: true },
            Mount { source: target, target: "/cargo/target".into(), writable: true },
        ],
    })
}

//! The resolved plan: every step of a build as data, checked before anything runs.

mod lint;
mod show;

pub use lint::lint;
pub use show::show;

use crate::definition::Definition;
use crate::definition::board::{self, Board};
use crate::engine::cache::Cache;
use crate::engine::step::Step;
use crate::signing::minisign::Signer;
use crate::signing::secure_boot::SecureBoot;
use crate::stages::extension::K3s;
use crate::stages::packages::Resolved;
use crate::stages::{self, tools::ToolsPlan};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A definition with its board, linted.
#[derive(Debug)]
pub struct Plan {
    /// What the user wants.
    pub definition: Definition,
    /// The hardware it is for.
    pub board: Board,
    /// The tools tree.
    pub tools: ToolsPlan,
    /// Checkout with node-init's sources and the initrd's overlay.
    pub workspace: PathBuf,
}

/// What goes into an image beside its definition.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// What the boot files are signed with.
    pub secure_boot: Option<&'a SecureBoot>,
    /// The extension's content.
    pub k3s: Option<&'a K3s>,
    /// What the extension is signed with.
    pub signer: Option<&'a Arc<Signer>>,
}

impl Plan {
    /// Reads and checks a definition.
    ///
    /// # Errors
    /// [`Findings`], all at once; or the workspace is not found.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let (definition, mut findings) = crate::definition::load(path);
        let Some(definition) = definition else { return Err(findings.into()) };
        let folder = path.parent().unwrap_or(Path::new("."));
        let board = board::load(&definition.board, folder, &mut findings);
        lint(&definition, board.as_ref(), &mut findings);
        match board {
            Some(board) if findings.is_empty() => {
                let tools = ToolsPlan::new(&definition, &board);
                Ok(Self { definition, board, tools, workspace: stages::node_init::workspace()? })
            }
            _ => Err(findings.into()),
        }
    }

    /// The steps, in an order in which each comes after what it needs.
    ///
    /// # Errors
    /// When sources or overlays cannot be read.
    pub fn steps(
        &self,
        cache: &Cache,
        resolved: Option<&Resolved>,
        extras: &Extras<'_>,
    ) -> anyhow::Result<Vec<Step>> {
        let (definition, board) = (&self.definition, &self.board);
        Ok(vec![
            stages::root::step(definition, board, resolved),
            stages::node_init::step(definition, board, cache, &self.workspace)?,
            stages::overlay::step(definition, board)?,
            stages::downloads::step(definition),
            stages::extension::step(definition, board, extras.k3s, extras.signer),
            stages::erofs::step(definition),
            stages::sbom::step(definition, board, resolved),
            stages::initrd::step(definition, board),
            stages::initrd::overlay_step(definition, &self.workspace.join("overlays/initrd"))?,
            stages::uki::step(definition, board),
            stages::boot_files::step(definition, board, extras.secure_boot)?,
            stages::disk::step(definition, board),
        ])
    }
}

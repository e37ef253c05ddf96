//! `cargo xtask soak NAME [--list] [--only WORD]`: every case of a long run, with a journal in `target/soak`.
//!
//! What passed on the same image is not run again: a run that was interrupted goes on where it was.

use crate::run::phase;

/// Builds the image and runs it.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| !name.starts_with('-')) else {
        return Err(
            "which? There is: power-cuts. `cargo xtask soak power-cuts --list` prints its cases".into()
        );
    };
    phase(
        "compile",
        &["cargo", "build", "--release", "--quiet", "--package", "edgepair", "--package", "qemu-tests"],
    )?;
    crate::test::image()?;
    let mut call = vec!["target/release/qemu-tests", "--image", "target/image.json", "--soak", name];
    call.extend(rest.iter().map(String::as_str));
    phase("soak", &call)
}

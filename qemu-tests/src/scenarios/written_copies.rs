//! The image as a user writes it: through the block map and byte by byte, the same.

use super::{Context, Scenario};
use anyhow::{Context as _, ensure};
use edgepair_host_io::sandbox::{Mount, Sandbox};
use edgepair_host_io::{HostRunner, Runner, digest};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

pub const SCENARIO: Scenario = Scenario {
    name: "written-copies",
    shows: "the image written through its block map by bmaptool is identical to the image written byte by byte",
    run,
};

fn run(context: &Context<'_>) -> anyhow::Result<()> {
    let plain = context.dir.join("plain.img");
    decompress(&context.image.image, &plain)?;
    let sandbox = Sandbox { tools: context.image.tools.clone() };
    let mounts = [
        Mount { source: context.dir.to_owned(), target: "/build".into(), writable: true },
        Mount { source: context.image.image.clone(), target: "/in/image.img.zst".into(), writable: false },
        Mount { source: context.image.bmap.clone(), target: "/in/image.bmap".into(), writable: false },
    ];
    // bmaptool has no zstd of its own in this suite; it takes the image from a file.
    let argv =
        ["bmaptool", "--quiet", "copy", "--bmap", "/in/image.bmap", "/build/plain.img", "/build/mapped.img"]
            .map(str::to_owned);
    HostRunner.run(&sandbox.wrap(&argv, &[], &mounts, false)).context("bmaptool")?;
    let mapped = context.dir.join("mapped.img");
    // The map says nothing of a tail of zeros; a disk has it, a file must be given it.
    let size = plain.metadata()?.len();
    let short = mapped.metadata()?.len();
    ensure!(short <= size, "bmaptool wrote more than the image");
    File::options().write(true).open(&mapped)?.set_len(size)?;
    let (a, b) = (digest::of_file(&plain)?, digest::of_file(&mapped)?);
    ensure!(a == b, "written through the block map: {b}, byte by byte: {a}");
    println!("  both have SHA-256 {a}");
    std::fs::remove_file(plain)?;
    std::fs::remove_file(mapped)?;
    Ok(())
}

/// Writes a compressed image out; zeros become holes.
pub fn decompress(image: &Path, target: &Path) -> anyhow::Result<()> {
    let mut reader = zstd::Decoder::new(File::open(image)?)?;
    let mut file = File::create(target)?;
    let mut chunk = vec![0_u8; 1 << 20];
    let mut size = 0_u64;
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if chunk[..read].iter().any(|byte| *byte != 0) {
            file.seek(std::io::SeekFrom::Start(size))?;
            file.write_all(&chunk[..read])?;
        }
        size += read as u64;
    }
    file.set_len(size)?;
    Ok(())
}

//! From files to one merged definition.
//!
//! `include` pulls in other files first. Lists are joined, single values of the including file win.

use super::board::{required, schema, size};
use super::findings::{Findings, Located, Place, Source};
use super::reader::{Reader, parse};
use super::{Definition, Disk, Download, ExtraPartition, K3s};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One file's worth of a definition; everything may be absent.
#[derive(Default)]
struct Fragment {
    name: Option<Located<String>>,
    version: Option<Located<String>>,
    board: Option<Located<String>>,
    suite: Option<Located<String>>,
    epoch: Option<Located<i64>>,
    mirrors: Vec<Located<String>>,
    components: Vec<Located<String>>,
    packages: Vec<Located<String>>,
    local_packages: Vec<Located<PathBuf>>,
    overlays: Vec<Located<PathBuf>>,
    excludes: Vec<Located<String>>,
    includes: Vec<Located<String>>,
    removes: Vec<Located<String>>,
    kernel_arguments: Vec<Located<String>>,
    initrd_modules: Vec<Located<String>>,
    enabled_units: Vec<Located<String>>,
    disabled_units: Vec<(Located<String>, String)>,
    masked_units: Vec<(Located<String>, String)>,
    downloads: Vec<Download>,
    update_keys: Vec<Located<PathBuf>>,
    k3s: Option<K3s>,
    esp: Option<Located<u64>>,
    seed: Option<Located<u64>>,
    root: Option<Located<u64>>,
    root_a: Option<Located<u64>>,
    root_b: Option<Located<u64>>,
    verity: Option<Located<u64>>,
    extra: Vec<ExtraPartition>,
}

impl Fragment {
    /// `later` was written after `self` and wins where there can be only one value.
    fn merge(&mut self, later: Self) {
        macro_rules! last { ($($field:ident),*) => { $(if later.$field.is_some() { self.$field = later.$field; })* } }
        macro_rules! join { ($($field:ident),*) => { $(self.$field.extend(later.$field);)* } }
        last!(name, version, board, suite, epoch, k3s, esp, seed, root, root_a, root_b, verity);
        join!(mirrors, components, packages, local_packages, overlays, excludes, includes, removes);
        join!(
            kernel_arguments,
            initrd_modules,
            enabled_units,
            disabled_units,
            masked_units,
            downloads,
            update_keys,
            extra
        );
    }
}

/// Reads a definition and everything it includes: what could be read, and everything that is wrong with it.
pub fn load(path: &Path) -> (Option<Definition>, Findings) {
    let mut findings = Findings::default();
    let mut files = Vec::new();
    let fragment = read(path, None, &mut files, &mut Vec::new(), &mut findings);
    let definition = complete(fragment, path, files, &mut findings);
    (definition, findings)
}

fn read(
    path: &Path,
    included_at: Option<&Place>,
    files: &mut Vec<PathBuf>,
    open: &mut Vec<PathBuf>,
    findings: &mut Findings,
) -> Fragment {
    let nowhere = Arc::new(Source { path: path.to_owned(), text: String::new() });
    let at = included_at.cloned().unwrap_or_else(|| nowhere.place(0));
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if open.contains(&real) {
        findings.add(&at, format!("`{}` includes itself", path.display()), "remove one of the includes");
        return Fragment::default();
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cannot read the definition `{}`: {error}", path.display());
            findings.add(&at, what, "check the path; the images/ folder has definitions to start from");
            return Fragment::default();
        }
    };
    let source = Arc::new(Source { path: path.to_owned(), text });
    let mut reader = parse(&source, findings);
    schema(&mut reader, findings);
    open.push(real);
    let mut all = Fragment::default();
    for included in reader.strings("include", findings) {
        let target = included.at.folder().join(&included.value);
        all.merge(read(&target, Some(&included.at), files, open, findings));
    }
    open.pop();
    files.push(path.to_owned());
    all.merge(fragment(&mut reader, findings));
    reader.finish(findings);
    all
}

fn fragment(reader: &mut Reader<'_>, findings: &mut Findings) -> Fragment {
    let path = |value: Located<String>| {
        let folder = value.at.folder().to_owned();
        value.map(|text| folder.join(text))
    };
    let mut fragment = Fragment {
        name: reader.string("name", findings),
        version: reader.string("version", findings),
        board: reader.string("board", findings),
        suite: reader.string("suite", findings),
        epoch: reader.integer("source_date_epoch", findings),
        mirrors: reader.strings("mirrors", findings),
        components: reader.strings("components", findings),
        packages: reader.strings("packages", findings),
        local_packages: reader.strings("local_packages", findings).into_iter().map(path).collect(),
        overlays: reader.strings("overlays", findings).into_iter().map(path).collect(),
        excludes: reader.strings("exclude", findings),
        includes: reader.strings("keep", findings),
        removes: reader.strings("remove", findings),
        ..Fragment::default()
    };
    if let Some(mut kernel) = reader.table("kernel", findings) {
        fragment.kernel_arguments = kernel.strings("arguments", findings);
        fragment.initrd_modules = kernel.strings("initrd_modules", findings);
        kernel.finish(findings);
    }
    if let Some(mut units) = reader.table("units", findings) {
        fragment.enabled_units = units.strings("enable", findings);
        fragment.disabled_units = units.string_table("disable", findings);
        fragment.masked_units = units.string_table("mask", findings);
        units.finish(findings);
    }
    if let Some(mut update) = reader.table("update", findings) {
        fragment.update_keys = update.strings("keys", findings).into_iter().map(path).collect();
        update.finish(findings);
    }
    if let Some(mut k3s) = reader.table("k3s", findings) {
        let url = required(&mut k3s, "url", findings);
        let sha256 = required(&mut k3s, "sha256", findings);
        let version = required(&mut k3s, "version", findings);
        let images = k3s.strings("images", findings).into_iter().map(path).collect();
        k3s.finish(findings);
        if let (Some(url), Some(sha256), Some(version)) = (url, sha256, version) {
            fragment.k3s = Some(K3s { version, url, sha256, images });
        }
    }
    for mut download in reader.tables("download", findings) {
        let url = required(&mut download, "url", findings);
        let path = required(&mut download, "path", findings);
        let sha256 = download.string("sha256", findings);
        let at = download.place().clone();
        download.finish(findings);
        let Some(sha256) = sha256 else {
            let fix = "add `sha256 = \"…\"`; `sha256sum FILE` prints it";
            findings.add(&at, "a download without a digest could change under the image", fix);
            continue;
        };
        if let (Some(url), Some(path)) = (url, path) {
            fragment.downloads.push(Download { url, sha256, path });
        }
    }
    if let Some(mut disk) = reader.table("disk", findings) {
        fragment.esp = size(&mut disk, "esp", findings);
        fragment.seed = size(&mut disk, "seed", findings);
        fragment.root = size(&mut disk, "root", findings);
        fragment.root_a = size(&mut disk, "root_a", findings);
        fragment.root_b = size(&mut disk, "root_b", findings);
        fragment.verity = size(&mut disk, "verity", findings);
        for mut extra in disk.tables("partition", findings) {
            let label = required(&mut extra, "label", findings);
            let offset = size(&mut extra, "offset", findings);
            let length = size(&mut extra, "size", findings);
            let at = extra.place().clone();
            extra.finish(findings);
            match (label, offset, length) {
                (Some(label), Some(offset), Some(size)) => {
                    fragment.extra.push(ExtraPartition { label, offset, size })
                }
                _ => {
                    findings.add(&at, "a partition needs `label`, `offset` and `size`", "add what is missing")
                }
            }
        }
        disk.finish(findings);
    }
    fragment
}

fn complete(
    fragment: Fragment,
    path: &Path,
    files: Vec<PathBuf>,
    findings: &mut Findings,
) -> Option<Definition> {
    if files.is_empty() {
        return None;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let top = Arc::new(Source { path: path.to_owned(), text }).place(0);
    let mut need = |value: Option<Located<String>>, key: &str| {
        if value.is_none() {
            findings.add(
                &top,
                format!("the key `{key}` is missing"),
                format!("write `{key} = \"…\"` here or in an included file"),
            );
        }
        value
    };
    let (name, version) = (need(fragment.name, "name"), need(fragment.version, "version"));
    let (board, suite) = (need(fragment.board, "board"), need(fragment.suite, "suite"));
    if fragment.epoch.is_none() {
        let fix = "write a fixed number of seconds since 1970, for example of the last commit";
        findings.add(
            &top,
            "the key `source_date_epoch` is missing: without it no two builds are the same",
            fix,
        );
    }
    let default = |bytes: u64| Located { value: bytes, at: top.clone() };
    let root = fragment.root.unwrap_or_else(|| default(768 << 20));
    let disk = Disk {
        esp: fragment.esp.unwrap_or_else(|| default(512 << 20)),
        seed: fragment.seed.unwrap_or_else(|| default(64 << 20)),
        root_a: fragment.root_a.unwrap_or_else(|| root.clone()),
        root_b: fragment.root_b.unwrap_or(root),
        verity: fragment.verity.unwrap_or_else(|| default(16 << 20)),
        extra: fragment.extra,
    };
    let components = if fragment.components.is_empty() {
        vec![Located { value: "main".to_owned(), at: top.clone() }]
    } else {
        fragment.components
    };
    Some(Definition {
        name: name?,
        version: version?,
        board: board?,
        suite: suite?,
        epoch: fragment.epoch?,
        mirrors: fragment.mirrors,
        components,
        packages: fragment.packages,
        local_packages: fragment.local_packages,
        overlays: fragment.overlays,
        excludes: fragment.excludes,
        includes: fragment.includes,
        removes: fragment.removes,
        kernel_arguments: fragment.kernel_arguments,
        initrd_modules: fragment.initrd_modules,
        enabled_units: fragment.enabled_units,
        disabled_units: fragment.disabled_units,
        masked_units: fragment.masked_units,
        downloads: fragment.downloads,
        update_keys: fragment.update_keys,
        k3s: fragment.k3s,
        disk,
        files,
    })
}

//! Builds that cannot succeed: what failed, why and what to do; exit 1; nothing with a final name.
//!
//! These use the real tools tree in the user's cache, because apt and curl are what fails. Where no image has been
//! built yet there is none, and they say so.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[expect(clippy::disallowed_methods, reason = "a test runs the real program")]
fn run(argv: &[&str], cwd: &Path) -> Output {
    Command::new(argv[0])
        .args(&argv[1..])
        .current_dir(cwd)
        .env("EDGEPAIR_SOURCE", workspace())
        .output()
        .expect("runs")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").to_owned()
}

/// `EDGEPAIR_TEST_FAULTS` is set by `cargo xtask test` once an image has been built.
fn prepared() -> bool {
    let prepared = std::env::var_os("EDGEPAIR_TEST_FAULTS").is_some();
    if !prepared {
        println!("skipped: needs the tools tree; `cargo xtask test` runs this after building the image");
    }
    prepared
}

const BASE: &str = "schema = 1\nname = \"faulty\"\nversion = \"1\"\nboard = \"x86-64\"\nsuite = \"trixie\"\n\
                    components = [\"main\", \"non-free-firmware\"]\nsource_date_epoch = 1\n";

/// Builds a definition that must fail and returns what was said.
fn failing(text: &str) -> String {
    let dir = tempfile::tempdir().expect("tempdir");
    edgepair_host_io::atomic::write(&dir.path().join("x.toml"), text.as_bytes(), 0o644).expect("write");
    let output = run(&[env!("CARGO_BIN_EXE_edgepair"), "build", "x.toml"], dir.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("to do: "), "no remedy in\n{said}");
    let left: Vec<_> = fs::read_dir(dir.path().join("out"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert!(left.is_empty(), "half-made output: {left:?}");
    said
}

/// A web server that gives the same answer to everything, for as long as the test runs.
fn server(body: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0_u8; 4096];
            let _ = stream.read(&mut request);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(body);
        }
    });
    port
}

#[test]
fn an_unknown_package_is_named() {
    if prepared() {
        let said = failing(&format!("{BASE}packages = [\"no-such-package-anywhere\"]\n"));
        assert!(said.contains("Unable to locate package no-such-package-anywhere"), "{said}");
        assert!(said.contains("correct its name"), "{said}");
    }
}

#[test]
fn an_unreachable_mirror_is_named() {
    if prepared() {
        // Port 9 on this machine: nobody listens.
        let said = failing(&format!("{BASE}mirrors = [\"http://127.0.0.1:9/debian\"]\n"));
        assert!(
            said.contains("127.0.0.1") && said.contains("the package mirror cannot be reached"),
            "{said}"
        );
    }
}

#[test]
fn an_index_with_a_bad_signature_is_refused() {
    if prepared() {
        let port = server(
            b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nSuite: stable\nCodename: trixie\n\
              -----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQ\n-----END PGP SIGNATURE-----\n",
        );
        let said = failing(&format!("{BASE}mirrors = [\"http://127.0.0.1:{port}/debian\"]\n"));
        assert!(said.contains("nothing from this one was used"), "{said}");
    }
}

#[test]
fn a_download_with_another_digest_is_refused() {
    if prepared() {
        let port = server(b"not what was promised");
        let said = failing(&format!(
            "{BASE}[[download]]\nurl = \"http://127.0.0.1:{port}/file\"\npath = \"/opt/file\"\nsha256 = \"{}\"\n",
            "0".repeat(64)
        ));
        assert!(
            said.contains("the definition says 0000") && said.contains("nothing of it was used"),
            "{said}"
        );
    }
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    if prepared() {
        let dir = tempfile::tempdir().expect("tempdir");
        edgepair_host_io::atomic::write(&dir.path().join("x.toml"), BASE.as_bytes(), 0o644).expect("write");
        // A small file system of its own, seen only by this one process and its children.
        let script = format!(
            "mkdir small && mount -t tmpfs -o size=8m small small && EDGEPAIR_CACHE=$PWD/small {} build x.toml; code=$?; ls -A small/tools; exit $code",
            env!("CARGO_BIN_EXE_edgepair")
        );
        let output =
            run(&["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script], dir.path());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("No space left on device") && said.contains("free space"), "{said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "", "a half-made tools tree stays");
    }
}

#[test]
fn doctor_names_what_an_ordinary_user_lacks() {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").map_or(1, |data| data.uid()) != 0 {
        return println!("skipped: only root can become a user without subordinate ids");
    }
    // The program must be readable by a user who may not see this checkout.
    let dir = tempfile::tempdir().expect("tempdir");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let program = dir.path().join("edgepair");
    fs::copy(env!("CARGO_BIN_EXE_edgepair"), &program).expect("copy");
    let program = program.to_string_lossy().into_owned();
    let output = run(
        &["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", &program, "doctor"],
        Path::new("/"),
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a range of subordinate ids for 54321 in /etc/subuid"), "{said}");
}

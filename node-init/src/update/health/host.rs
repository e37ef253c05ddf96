//! Looks at this machine.

use super::{Observed, Room, Seen, UserCheck};
use crate::units::Manager;
use edgepair_host_io::{CommandError, Invocation, Runner};
use edgepair_layout::path::{HEALTH_DIR, IMAGE_INFO, STATE};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// A check of the user may take so many seconds, and has two more to end when it is told to.
const CHECK_SECONDS: u32 = 30;
/// `timeout` ends with this when the time was over (coreutils, timeout(1)).
const TIMED_OUT: i32 = 124;
/// At most so many characters of what a check says.
const WORDS: usize = 300;

/// Looks at everything. Takes as long as the slowest check. `kubernetes`: an API server runs here.
pub fn observe(runner: &dyn Runner, seen: Seen, solo: bool, kubernetes: bool) -> Observed {
    let mut observed = Observed { seen, solo, ..Observed::default() };
    let units = Manager::connect().and_then(|manager| {
        // The agent itself runs; whatever else is queued has not come up yet.
        Ok((manager.failed()?, manager.jobs("edgepair-ready.service")?))
    });
    match units {
        Ok((failed, jobs)) => (observed.failed_units, observed.jobs) = (failed, jobs),
        Err(error) => observed.blind.push(format!("systemd does not answer: {error:#}")),
    }
    match room(Path::new(STATE)) {
        Ok(room) => observed.rooms.push(room),
        Err(error) => observed.blind.push(format!("{STATE}: {error}")),
    }
    observed.now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)
        .ok()
        .and_then(|now| u64::try_from(now.tv_sec()).ok())
        .unwrap_or_default();
    observed.built = built();
    observed.api = kubernetes.then(|| api(runner));
    match checks(runner, Path::new(HEALTH_DIR), CHECK_SECONDS) {
        Ok(checks) => observed.checks = checks,
        Err(error) => observed.blind.push(format!("{HEALTH_DIR}: {error}")),
    }
    observed
}

/// Seconds since 1970 at which the image was made: every file of it has the time that it was made for.
pub fn built() -> u64 {
    fs::metadata(IMAGE_INFO).ok().and_then(|image| u64::try_from(image.mtime()).ok()).unwrap_or_default()
}

fn room(path: &Path) -> std::io::Result<Room> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let unit = stat.fragment_size();
    Ok(Room {
        path: path.display().to_string(),
        size: stat.blocks().saturating_mul(unit),
        free: stat.blocks_available().saturating_mul(unit),
        writable: !stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY),
    })
}

/// `k3s kubectl get --raw /readyz` (Kubernetes, "API health endpoints").
fn api(runner: &dyn Runner) -> Result<(), String> {
    let call = Invocation::new("timeout").args([
        "--kill-after=2",
        "10",
        "k3s",
        "kubectl",
        "get",
        "--raw",
        "/readyz",
    ]);
    runner.run(&call).map(drop).map_err(|error| words(&error))
}

fn words(error: &CommandError) -> String {
    if error.code() == Some(TIMED_OUT) {
        return "no answer in time".to_owned();
    }
    let said = error.tail().lines().last().map(str::trim).filter(|line| !line.is_empty());
    said.map_or_else(|| error.to_string(), str::to_owned).chars().take(WORDS).collect()
}

/// Runs the user's checks: executable files of a folder, by name, each with its own time. Not there: none.
///
/// # Errors
/// When the folder cannot be read.
pub fn checks(runner: &dyn Runner, folder: &Path, seconds: u32) -> std::io::Result<Vec<UserCheck>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let meta = fs::metadata(&path)?;
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            files.push(path);
        }
    }
    files.sort();
    let run = |path: &std::path::PathBuf| {
        let call = Invocation::new("timeout").args([
            "--kill-after=2",
            &seconds.to_string(),
            &path.to_string_lossy(),
        ]);
        let says = match runner.run(&call) {
            Ok(_) => None,
            Err(error) if error.code() == Some(TIMED_OUT) => Some(format!("no answer within {seconds} s")),
            Err(error) => Some(words(&error)),
        };
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        UserCheck { name, says }
    };
    Ok(files.iter().map(run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepair_host_io::{HostRunner, atomic};

    #[test]
    fn checks_of_the_user_run_by_name_with_a_limit_each() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str, mode| {
            atomic::write(&dir.path().join(name), format!("#!/bin/sh\n{text}\n").as_bytes(), mode).unwrap();
        };
        put("20-fails", "echo checking; echo 'the till is closed' >&2; exit 3", 0o755);
        put("10-good", "exit 0", 0o755);
        put("30-hangs", "sleep 60", 0o755);
        put("40-note", "exit 1", 0o644);
        put("50-quiet", "exit 1", 0o755);
        let checks = checks(&HostRunner, dir.path(), 1).unwrap();
        let said: Vec<(&str, &str)> = checks
            .iter()
            .map(|check| (check.name.as_str(), check.says.as_deref().unwrap_or("well")))
            .collect();
        assert_eq!(
            said[..3],
            [("10-good", "well"), ("20-fails", "the till is closed"), ("30-hangs", "no answer within 1 s")]
        );
        assert!(said[3].0 == "50-quiet" && said[3].1.contains("exit status: 1"), "{said:?}");
        assert_eq!(said.len(), 4, "what cannot be executed is no check");
        assert_eq!(super::checks(&HostRunner, &dir.path().join("none"), 1).unwrap(), []);
    }

    #[test]
    fn the_room_is_the_file_systems() {
        let dir = tempfile::tempdir().unwrap();
        let room = room(dir.path()).unwrap();
        assert!(room.writable && room.free <= room.size && room.size > 0);
    }
}

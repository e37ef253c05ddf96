//! The agent's words: standard error with the journal's priorities (sd-daemon(3)), and for what must survive a reset
//! the kernel's log, which a serial console shows at once.

use std::io::Write;

/// Something to know.
pub fn info(text: &str) {
    eprintln!("<6>{text}");
}

/// Something that is not as it should be.
pub fn warn(text: &str) {
    eprintln!("<4>{text}");
}

/// Something that cannot wait for the journal.
pub fn loud(text: &str) {
    eprintln!("<2>{text}");
    kernel(text);
}

/// Only into the kernel's log: for programs that the kernel starts, which have no journal.
pub fn kernel(text: &str) {
    if let Ok(mut log) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(format!("<2>edgepair: {text}\n").as_bytes());
    }
}

/// A step that makes something for the first time, in the words of the provisioning: `step ID: what`, `step ID done`.
///
/// # Errors
/// The work's.
pub async fn step<T>(
    id: &str,
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    info(&format!("step {id}: {what}"));
    let made = work.await?;
    info(&format!("step {id} done"));
    Ok(made)
}

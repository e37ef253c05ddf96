//! Places where a test makes the witness die as if killed with signal 9.
//!
//! `EDGEPAIR_FAILPOINT=NAME:N` dies at the N-th passage of NAME. Only with the cargo feature `failpoints`;
//! without it every call is nothing.

/// Dies here if the environment says so.
#[cfg(feature = "failpoints")]
pub fn pass(name: &str) {
    use std::collections::HashMap;
    use std::sync::{LazyLock, Mutex, PoisonError};

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("EDGEPAIR_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    static PASSED: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);

    let Some((armed, count)) = ARMED.as_ref() else { return };
    if armed != name {
        return;
    }
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let times = passed.entry(name.to_owned()).or_default();
    *times += 1;
    if times == count {
        // SIGKILL, not abort: nothing of this process runs any more, no buffer is flushed.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

/// Dies here if the environment says so.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn pass(_name: &str) {}

//! Word to systemd that the service is up (sd_notify(3)).

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service is ready.
pub fn ready() {
    send(std::env::var_os("NOTIFY_SOCKET"), b"READY=1");
}

fn send(socket: Option<OsString>, text: &[u8]) {
    let Some(socket) = socket else { return };
    let bytes = socket.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    // systemd waits for it and says so when it does not come.
    if let (Ok(address), Ok(own)) = (address, UnixDatagram::unbound()) {
        let _ = own.send_to_addr(text, &address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_arrives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let server = UnixDatagram::bind(&path).unwrap();
        send(Some(path.into()), b"READY=1");
        let mut bytes = [0; 16];
        let read = server.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..read], b"READY=1");
    }
}

//! A test double of a management board (BMC): a Redfish service over TLS that switches one machine of the lab off and on.
//!
//! ```text
//!  fence_redfish in a node ─▶ lab's network ─▶ host port ─▶ Bmc (TLS, HTTP, redfish) ─▶ QMP ─▶ the machine
//! ```
//!
//! As much of DMTF's DSP0266 as a fence agent asks for: service root, sessions, systems, `ComputerSystem.Reset`, with basic or
//! session authentication. Switching off stops the machine's processors at once, as a cut of its power does; switching on is a
//! reset from its firmware on. What was asked is kept, so that a scenario can see what was done to whom.

mod http;
mod machine;
mod redfish;

pub use machine::Machine;

use anyhow::Context;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A client that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a board can do to what it is built into.
pub trait Power: Send {
    /// Whether it has power.
    fn is_on(&mut self) -> bool;
    /// Gives or takes it.
    ///
    /// # Errors
    /// When that does not work; the board then answers with a server error.
    fn set(&mut self, on: bool) -> anyhow::Result<()>;
}

/// The login that a board takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// What all connections to a board share.
struct Board {
    power: Box<dyn Power>,
    login: Login,
    tokens: Vec<String>,
    asked: Vec<String>,
}

/// A board that listens.
pub struct Bmc {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its certificate, PEM.
    pub certificate: String,
    board: Arc<Mutex<Board>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Bmc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bmc(127.0.0.1:{})", self.port)
    }
}

impl Bmc {
    /// Starts a board; `names` are what its certificate is for. With port 0 it takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16, names: &[String], login: Login, power: Box<dyn Power>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the board's port")?;
        let port = listener.local_addr()?.port();
        // So that it can be told to stop while nobody calls.
        listener.set_nonblocking(true)?;
        let own = rcgen::generate_simple_self_signed(names).context("the board's certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let chain: Vec<CertificateDer<'static>> = vec![own.cert.der().clone()];
        let config = Arc::new(ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?);
        let board = Board { power, login, tokens: Vec::new(), asked: Vec::new() };
        let (board, stop) = (Arc::new(Mutex::new(board)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (board, stop) = (Arc::clone(&board), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((stream, _)) = listener.accept() else {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    };
                    let (board, config) = (Arc::clone(&board), Arc::clone(&config));
                    std::thread::spawn(move || {
                        // A client that goes away is its own affair.
                        let _ = serve(stream, config, &board);
                    });
                }
            }
        });
        Ok(Self { port, certificate: pem(own.cert.der()), board, stop, thread: Some(thread) })
    }

    /// What was asked of it that changes something, in order: `ForceOff`, `On`, ….
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.board).asked.clone()
    }

    /// Whether what it is built into has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        lock(&self.board).power.is_on()
    }

    /// Takes or gives the power, as at the board's own button.
    ///
    /// # Errors
    /// The machine's.
    pub fn set(&self, on: bool) -> anyhow::Result<()> {
        lock(&self.board).power.set(on)
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// RFC 7468.
fn pem(certificate: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn lock(board: &Mutex<Board>) -> MutexGuard<'_, Board> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection, one request.
fn serve(stream: TcpStream, config: Arc<ServerConfig>, board: &Mutex<Board>) -> anyhow::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut tls = StreamOwned::new(ServerConnection::new(config)?, stream);
    let request = http::read(&mut tls)?;
    let answer = redfish::answer(&mut lock(board), &request);
    http::write(&mut tls, &answer)?;
    tls.conn.send_close_notify();
    std::io::Write::flush(&mut tls)?;
    Ok(())
}

#[cfg(test)]
mod tests;

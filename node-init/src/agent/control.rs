//! The control socket: root asks the agent. One JSON request in a line, one JSON reply in a line.
//!
//! With the request for an update comes a bundle, when the agent has said [`Reply::Send`]: from whoever may read it, so that it
//! can be a pipe, or a file that the sealed agent does not see.

use crate::update::bundle::Body;
use crate::update::driver::said::{Start, UpdateStatus};
use edgepair_layout::path::AGENT_SOCKET;
use edgepair_status::Status;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::spawn_local;

/// A request is one short line.
const REQUEST: u64 = 4096;
/// Who asks is waited for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// A bundle that does not go on for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Askers at the same time.
const ASKERS: usize = 16;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How is this node?
    Status,
    /// Make the other node active.
    Switchover,
    /// Make this node active alone: an operator vouches that the other one is off and will be wiped.
    Promote,
    /// This node goes down in order.
    Leave,
    /// The kernel asks: may this node go on without the other?
    FencePeer,
    /// The kernel asks: the own disk failed, what now?
    LocalIoError,
    /// How is the update?
    UpdateStatus,
    /// Update the pair.
    UpdateStart(Start),
    /// Boot the other version again, on this node.
    UpdateRollback,
    /// Ask the channel now, and say how the update is.
    UpdateCheck,
    /// Update the pair to what the channel names.
    UpdateTake {
        /// Seconds that the plan may take.
        limit: Option<u64>,
        /// A version that the operator has confirmed as a step from which nothing goes back.
        one_way: Option<String>,
    },
    /// Choose the version of k3s that the pair runs.
    ExtensionUse(String),
    /// What extensions are here has changed: tell the other node.
    ExtensionsChanged,
}

impl Request {
    fn has_body(&self) -> bool {
        matches!(self, Self::UpdateStart(start) if start.is_handed_in())
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// How this node is.
    Status(Box<Status>),
    /// The command is under way; `status` shows how it goes.
    Accepted,
    /// It is not carried out, for this reason.
    Refused(String),
    /// Exit code for the kernel's handler.
    Code(u8),
    /// How the update is.
    Update(Box<UpdateStatus>),
    /// Now comes the bundle; another reply follows.
    Send,
}

/// A request with the way back.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// The bundle that comes with it.
    pub body: Option<Body>,
    /// Where the reply goes. The asker may be gone by then.
    pub reply: oneshot::Sender<Reply>,
}

/// Listens; each request goes to `asked`.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(path: &Path, asked: mpsc::Sender<Asked>) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let places = std::sync::Arc::new(Semaphore::new(ASKERS));
    spawn_local(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let asked = asked.clone();
            spawn_local(async move {
                let _ = serve(stream, &asked).await;
                drop(place);
            });
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, asked: &mpsc::Sender<Asked>) -> std::io::Result<()> {
    // The mode of the socket says so already; a copied mode would not.
    let own = nix::unistd::geteuid().as_raw();
    let uid = getsockopt(&stream, PeerCredentials)?.uid();
    if uid != 0 && uid != own {
        return Ok(());
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST));
    match tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await {
        Ok(Ok(1..)) => {}
        _ => return Ok(()),
    }
    let reply = match serde_json::from_str::<Request>(&line) {
        Err(_) => Reply::Refused(format!("not a request: {}", line.trim())),
        Ok(request) if request.has_body() => {
            tokio::time::timeout(PATIENCE, writer.write_all(&words(&Reply::Send)?)).await??;
            let reader = reader.into_inner().into_inner();
            let stream = reader.reunite(writer).map_err(std::io::Error::other)?.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(STALLED))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            let body = Some(Body(Box::new(stream.try_clone()?)));
            let reply = answer(asked, request, body).await;
            // One short line: there is room for it, whether it is read or not.
            return (&stream).write_all(&words(&reply)?);
        }
        Ok(request) => answer(asked, request, None).await,
    };
    tokio::time::timeout(PATIENCE, writer.write_all(&words(&reply)?)).await?
}

fn words(reply: &Reply) -> std::io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(reply)?;
    text.push(b'\n');
    Ok(text)
}

async fn answer(asked: &mpsc::Sender<Asked>, request: Request, body: Option<Body>) -> Reply {
    let (reply, receiver) = oneshot::channel();
    let sent = asked.send(Asked { request, body, reply }).await;
    match (sent, receiver.await) {
        (Ok(()), Ok(reply)) => reply,
        _ => Reply::Refused("the agent is ending".to_owned()),
    }
}

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no agent runs on this node ({0}); systemctl status edgepair-agent says why")]
    NoAgent(#[source] std::io::Error),
    /// It did not answer in time.
    #[error("the agent did not answer within {0:?}")]
    Silent(Duration),
    /// It answered something else.
    #[error("the agent's answer is not understood; are node-init and the running agent of one version?")]
    Strange,
}

/// Asks the agent of this node.
///
/// # Errors
/// [`AskError`], after `limit` at the latest.
pub fn ask(request: Request, limit: Duration) -> Result<Reply, AskError> {
    ask_at(Path::new(AGENT_SOCKET), request, limit)
}

/// The same at another socket.
///
/// # Errors
/// As [`ask`].
pub fn ask_at(path: &Path, request: Request, limit: Duration) -> Result<Reply, AskError> {
    let stream = question(path, &request, limit)?;
    reply(&mut BufReader::new(&stream), limit)
}

fn question(
    path: &Path,
    request: &Request,
    limit: Duration,
) -> Result<std::os::unix::net::UnixStream, AskError> {
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(AskError::NoAgent)?;
    let silent = |_| AskError::Silent(limit);
    stream.set_read_timeout(Some(limit)).map_err(silent)?;
    stream.set_write_timeout(Some(limit)).map_err(silent)?;
    let mut text = serde_json::to_string(request).map_err(|_| AskError::Strange)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).map_err(silent)?;
    Ok(stream)
}

fn reply(reader: &mut impl BufRead, limit: Duration) -> Result<Reply, AskError> {
    let mut line = String::new();
    // Lines are short; a status is some kilobytes.
    let read = std::io::Read::take(reader, 1 << 20).read_line(&mut line);
    read.map_err(|_| AskError::Silent(limit))?;
    serde_json::from_str(&line).map_err(|_| AskError::Strange)
}

/// The sending of a bundle, which goes on when the request has been answered: ends with the number of bytes.
pub type Sending = std::thread::JoinHandle<std::io::Result<u64>>;

/// Asks the agent of this node for something that comes with a bundle.
///
/// # Errors
/// As [`ask`].
pub fn ask_with(
    request: &Request,
    bundle: impl std::io::Read + Send + 'static,
    limit: Duration,
) -> Result<(Reply, Option<Sending>), AskError> {
    ask_with_at(Path::new(AGENT_SOCKET), request, bundle, limit)
}

/// The same at another socket.
///
/// # Errors
/// As [`ask`].
pub fn ask_with_at(
    path: &Path,
    request: &Request,
    mut bundle: impl std::io::Read + Send + 'static,
    limit: Duration,
) -> Result<(Reply, Option<Sending>), AskError> {
    let stream = question(path, request, limit)?;
    let mut reader = BufReader::new(&stream);
    match reply(&mut reader, limit)? {
        Reply::Send => {}
        other => return Ok((other, None)),
    }
    let mut out = stream.try_clone().map_err(|_| AskError::Strange)?;
    // A slot on a slow card takes its time; an agent that is gone closes the socket.
    out.set_write_timeout(None).map_err(|_| AskError::Strange)?;
    let sending = std::thread::spawn(move || {
        let sent = std::io::copy(&mut bundle, &mut out)?;
        out.shutdown(std::net::Shutdown::Write)?;
        Ok(sent)
    });
    Ok((reply(&mut reader, limit)?, Some(sending)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::driver::said::Start;
    use std::io::Read;
    use tokio::task::LocalSet;

    /// Answers one request at a socket; `take` gets the bundle.
    fn serve_once(path: &Path, reply: Reply, take: impl FnOnce(Option<Body>) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (sender, mut receiver) = mpsc::channel(1);
            listen(path, sender).unwrap();
            let asked: Asked = receiver.recv().await.unwrap();
            asked.reply.send(reply).unwrap();
            tokio::task::spawn_blocking(move || take(asked.body)).await.unwrap();
        });
    }

    fn start() -> Request {
        Request::UpdateStart(Start {
            file: "-".into(),
            solo: false,
            limit: None,
            one_way: None,
            channel: None,
        })
    }

    #[test]
    fn a_bundle_comes_after_its_request_and_goes_on_after_the_reply() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let bundle: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (there, wanted) = (path.clone(), bundle.clone());
        let agent = std::thread::spawn(move || {
            serve_once(&there, Reply::Accepted, move |body| {
                let mut found = Vec::new();
                body.unwrap().read_to_end(&mut found).unwrap();
                assert!(found == wanted, "{} bytes of {}", found.len(), wanted.len());
            });
        });
        while !path.exists() {
            std::thread::yield_now();
        }
        let all = bundle.len() as u64;
        let limit = Duration::from_secs(20);
        let (reply, sending) = ask_with_at(&path, &start(), std::io::Cursor::new(bundle), limit).unwrap();
        assert_eq!(reply, Reply::Accepted);
        assert_eq!(sending.unwrap().join().unwrap().unwrap(), all);
        agent.join().unwrap();
    }

    #[test]
    fn who_is_refused_is_told_why_and_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let there = path.clone();
        let agent = std::thread::spawn(move || serve_once(&there, Reply::Refused("no".into()), drop));
        while !path.exists() {
            std::thread::yield_now();
        }
        let limit = Duration::from_secs(20);
        let (reply, sending) = ask_with_at(&path, &start(), std::io::repeat(7), limit).unwrap();
        assert_eq!(reply, Reply::Refused("no".into()));
        agent.join().unwrap();
        assert!(
            sending.unwrap().join().unwrap().is_err(),
            "an endless bundle ends with the agent's interest"
        );
    }
}

//! The answering end: whoever proves to be the other node gets the head that is kept here, and blocks that this node's
//! slots have. Each block is compared with the index before it is sent, so a slot that is being written answers for what
//! is in place and nothing else.

use super::line::{FRAME, Line, LineError};
use super::wire::{NOT_THERE, Question, Reply, answer};
use crate::update::slot::Volume;
use edgepair_bundle::manifest::{BLOCK, PayloadName};
use edgepair_bundle::{BlockId, Contents, Digest};
use pair_core::record::Side;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Lines at the same time: the other node has one.
const LINES: usize = 2;
/// After a failure of the listener itself.
const AGAIN: Duration = Duration::from_secs(1);

/// What is answered from.
pub trait Shelf: Send + Sync + 'static {
    /// The head of a bundle, and what is signed in it.
    ///
    /// # Errors
    /// Why it is not given.
    fn head(&self, bundle: &str) -> Result<(Vec<u8>, Contents), String>;

    /// Partitions that may hold blocks of a payload.
    fn volumes(&self, payload: PayloadName) -> Vec<Box<dyn Volume>>;

    /// The kernel image of a version, as far as it is there.
    fn kernel(&self, version: &str) -> Option<File>;
}

/// Listens on all addresses, as the agents' channel does: the firewall lets only the other node in.
///
/// # Errors
/// When the port is taken, or there is no thread for it.
pub fn listen(port: u16, key: [u8; 32], side: Side, shelf: Arc<dyn Shelf>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        // A kernel without IPv6.
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?;
    start(listener, key, side, shelf)
}

/// Answers the other node from a thread of its own, for ever. `key` and `side` as for [`super::Client`].
///
/// # Errors
/// When there is no thread for it.
pub fn start(listener: TcpListener, key: [u8; 32], side: Side, shelf: Arc<dyn Shelf>) -> io::Result<()> {
    let lines = Arc::new(AtomicUsize::new(0));
    let accept = move || loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(AGAIN);
            continue;
        };
        // Somebody who opens lines and says nothing must not use up threads.
        if lines.fetch_add(1, Ordering::SeqCst) >= LINES {
            lines.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (shelf, left) = (Arc::clone(&shelf), Arc::clone(&lines));
        let serve = move || {
            // Who leaves or is not the other node gets no answer, and it is nobody's business here.
            let _ = serve(stream, &key, side, &*shelf);
            left.fetch_sub(1, Ordering::SeqCst);
        };
        if std::thread::Builder::new().name("bundle line".to_owned()).spawn(serve).is_err() {
            lines.fetch_sub(1, Ordering::SeqCst);
        }
    };
    std::thread::Builder::new().name("bundle server".to_owned()).spawn(accept).map(drop)
}

/// One bundle, as far as it is on this node.
struct Open {
    bundle: String,
    contents: Contents,
    payload: PayloadName,
    volumes: Vec<Box<dyn Volume>>,
    kernel: Option<File>,
}

fn serve(stream: TcpStream, key: &[u8; 32], side: Side, shelf: &dyn Shelf) -> Result<(), LineError> {
    let mut line = Line::answer(stream, key, !side)?;
    let mut open: Option<Open> = None;
    loop {
        match Question::decode(&line.hear()?).ok_or(LineError::Strange)? {
            Question::Head { bundle } => match shelf.head(&bundle) {
                Ok((head, _)) => {
                    line.say(&Reply::Size(head.len() as u64).encode())?;
                    head.chunks(FRAME).try_for_each(|chunk| line.say(chunk))?;
                }
                Err(why) => line.say(&Reply::No(why).encode())?,
            },
            Question::Blocks { bundle, payload, runs } => {
                let ids = Question::ids(&payload, &runs).ok_or(LineError::Strange)?;
                for id in ids {
                    let same =
                        open.as_ref().is_some_and(|one| one.bundle == bundle && one.payload == id.payload);
                    if !same {
                        open = Open::new(shelf, &bundle, id.payload);
                    }
                    match open.as_mut().and_then(|open| open.block(shelf, id)) {
                        Some(block) => line.say(&answer(&block))?,
                        None => {
                            line.say(NOT_THERE)?;
                            break;
                        }
                    }
                }
            }
        }
    }
}

impl Open {
    fn new(shelf: &dyn Shelf, bundle: &str, payload: PayloadName) -> Option<Self> {
        let (_, contents) = shelf.head(bundle).ok()?;
        let volumes = shelf.volumes(payload);
        Some(Self { bundle: bundle.to_owned(), contents, payload, volumes, kernel: None })
    }

    fn block(&mut self, shelf: &dyn Shelf, id: BlockId) -> Option<Vec<u8>> {
        let (size, row) = self.contents.index.row(id).ok()?;
        let wanted = row.digest;
        let mut block = [0; BLOCK];
        for volume in &mut self.volumes {
            // An image for a slot is made of whole blocks.
            if size == BLOCK && volume.read(id.offset(), &mut block).is_ok() && Digest::of(&block) == wanted {
                return Some(block.to_vec());
            }
        }
        if id.payload != PayloadName::Uki {
            return None;
        }
        if self.kernel.is_none() {
            self.kernel = shelf.kernel(self.contents.manifest.version.as_str());
        }
        let block = &mut block[..size];
        let read = self.kernel.as_ref().is_some_and(|file| file.read_exact_at(block, id.offset()).is_ok());
        if read && Digest::of(block) == wanted {
            return Some(block.to_vec());
        }
        // It may be another file by then.
        self.kernel = None;
        None
    }
}

//! Update bundles on a node: whom to trust, what to take, where its blocks come from.
//!
//! ```text
//!  operator's pipe ─▶ open ─ signature, index, does it fit here ─▶ Opened ─┐
//!                                                                         ├─▶ write ─▶ slot
//!  head kept on state ─▶ checked again ─▶ file, web server, other node ─────┘
//!                                              ▲
//!                           other node's peer::serve: its head, its slots
//! ```
//!
//! - [`trust`]: the keys. [`stock`]: what is kept: the head of the bundle, the floor.
//! - [`source`]: a bundle as a source of blocks; [`record`] copies the head while it is read. [`http`]: from a web server.
//! - [`peer`]: the other node as a source, and this one as the other's.
//!
//! A bundle is named by the SHA-256 of its manifest: the same on both nodes, and whatever else it holds follows from it.

#[cfg(test)]
mod bad;
pub mod http;
mod kernels;
pub mod peer;
pub mod record;
mod shelf;
pub mod source;
pub mod stock;
#[cfg(test)]
pub(crate) mod tests;
pub mod trust;

use super::driver::hands::{Job, Offer, Trouble};
use super::driver::kept::Kept;
use super::slot::{Image, Report, SlotError, Source};
use crate::member::{KeptError, Place};
use edgepair_bundle::channel::Named;
use edgepair_bundle::manifest::Span;
use edgepair_bundle::{Admitted, Contents, Digest, Error, Node, Reads, Rest, Time, Unverified, Version};
use edgepair_layout::{boot, format, path};
use edgepair_signature::TrustedKeys;
use http::Http;
use record::{Record, Recorded};
pub use shelf::HostShelf;
use source::{Picked, Ranged, Ranges, Stream, image};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use stock::Stock;

/// What an operator hands in.
pub struct Body(pub Box<dyn Read + Send>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Body")
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// Writes a slot; the test's is not this machine's.
pub type Install<'a> = dyn FnMut(&Image, &mut dyn Source) -> Result<Report, SlotError> + 'a;

/// What a node is, as far as a bundle has to fit it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its board.
    pub board: String,
    /// Format of its datastore, where it has one.
    pub datastore: Option<u32>,
}

/// On which terms a bundle is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// A version that the operator has confirmed as a step from which nothing goes back.
    pub one_way: Option<String>,
    /// What a channel has said that the bundle is.
    pub named: Option<Named>,
    /// Name of the pair, when no operator but a channel asks: its wave counts then.
    pub pair: Option<String>,
}

type Input = Recorded<BufReader<Body>>;

/// A bundle that was opened for an operator and waits to be written.
struct Opened {
    bundle: String,
    head: Vec<u8>,
    origin: Option<String>,
    admitted: Admitted,
    /// Absent for one that is read by ranges.
    rest: Option<Rest<Input>>,
}

/// The bundles of this node.
#[derive(Clone)]
pub struct Bundles {
    place: Place,
    about: About,
    peer: Option<peer::Client>,
    opened: Arc<Mutex<Option<Opened>>>,
}

impl std::fmt::Debug for Bundles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundles({:?})", self.about)
    }
}

/// What a bundle is called on both nodes.
pub fn name(manifest: &str) -> String {
    Digest::of(manifest.as_bytes()).to_string()
}

/// The signed contents of a head.
///
/// # Errors
/// When it is damaged, or not signed with a trusted key, or of another bundle.
pub fn contents(head: &[u8], bundle: &str, keys: &TrustedKeys) -> Result<Contents, Trouble> {
    let (found, verified) = verified(head, keys)?;
    if found != bundle {
        return Err(Trouble::lasting(format!("the head of bundle {found} is kept under the name {bundle}")));
    }
    Ok(verified.contents().clone())
}

fn verified<R: Read>(
    reader: R,
    keys: &TrustedKeys,
) -> Result<(String, edgepair_bundle::Verified<R>), Trouble> {
    let unverified = Unverified::open(reader).map_err(refused)?;
    let name = name(unverified.text());
    Ok((name, unverified.verify(keys).map_err(refused)?))
}

fn refused(error: Error) -> Trouble {
    Trouble::lasting(format!("the bundle is refused: {error}\n  to do: {}", error.advice()))
}

impl From<KeptError> for Trouble {
    fn from(error: KeptError) -> Self {
        Self::lasting(error.to_string())
    }
}

impl From<SlotError> for Trouble {
    fn from(error: SlotError) -> Self {
        let again = match &error {
            SlotError::Io { .. } | SlotError::Missing(_) => true,
            SlotError::Source { again, .. } => *again,
            SlotError::Boot(error) => matches!(error, super::boot::BootError::Io { .. }),
            SlotError::Place(_)
            | SlotError::Image(_)
            | SlotError::Block(_)
            | SlotError::ReadBack(_)
            | SlotError::Table(_) => false,
        };
        Self { text: error.to_string(), again }
    }
}

impl Bundles {
    /// The bundles of a node whose files lie below `place`; `peer` is how to ask the other one.
    pub fn new(place: Place, about: About, peer: Option<peer::Client>) -> Self {
        Self { place, about, peer, opened: Arc::default() }
    }

    fn kernels(&self) -> PathBuf {
        self.place.path(path::ESP).join(boot::UKI_DIR)
    }

    /// Where this node's files lie.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The keys that this node's image brought.
    ///
    /// # Errors
    /// In words, when there is none.
    pub fn keys(&self) -> Result<TrustedKeys, Trouble> {
        trust::trusted(&self.place.path(path::UPDATE_KEYS)).map_err(Trouble::lasting)
    }

    /// Opens a bundle that an operator hands in: signature, index, whether this node may have it at the time `now`. Not
    /// a byte of a slot is written. `origin` is where it can be read again.
    ///
    /// # Errors
    /// Everything that speaks against it.
    pub fn open_on(
        &self,
        body: Option<Body>,
        origin: Option<String>,
        now: Option<Time>,
        terms: &Terms,
    ) -> Result<Offer, Trouble> {
        // Whoever was opened before and not taken is given up.
        *self.slot() = None;
        let keys = self.keys()?;
        let address = origin.as_deref().filter(|origin| http::is_address(origin));
        let (body, ranges) = match (address, body) {
            (Some(address), _) => {
                let http = Http::new(address).map_err(|error| Trouble::lasting(error.to_string()))?;
                (Body(Box::new(http.reader())), true)
            }
            (None, Some(body)) => (body, false),
            (None, None) => return Err(Trouble::lasting("no bundle was handed in")),
        };
        let (reader, record): (Input, Record) = Recorded::new(BufReader::with_capacity(1 << 16, body));
        let (bundle, verified) = verified(reader, &keys)?;
        let head = record.end();
        if let Some(named) = &terms.named {
            is_named(&head, verified.contents(), named)?;
        }
        let one_way = terms.one_way.as_deref().and_then(Version::parse);
        let stock = Stock::load(&self.place)?;
        let refused = self.failed()?;
        let floor = stock.floor();
        let pair = terms.pair.as_deref();
        let node = Node { now, pair, one_way: one_way.as_ref(), ..self.node(floor.as_ref(), &refused) };
        let (admitted, rest) =
            verified.admit(&node).map_err(|refused| Trouble::lasting(refused.to_string()))?;
        let manifest = &admitted.contents().manifest;
        let offer = Offer {
            version: manifest.version.as_str().to_owned(),
            bundle: bundle.clone(),
            trial_limit: manifest.trial_seconds.into(),
        };
        // What can be read by ranges is not read through.
        let rest = (!ranges).then_some(rest);
        *self.slot() = Some(Opened { bundle, head, origin, admitted, rest });
        Ok(offer)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> Result<Vec<Version>, Trouble> {
        let kept = Kept::load(&self.place)?;
        Ok(kept.failed.iter().filter_map(|failed| Version::parse(&failed.version)).collect())
    }

    fn node<'a>(&'a self, floor: Option<&'a Version>, refused: &'a [Version]) -> Node<'a> {
        Node {
            board: &self.about.board,
            floor,
            refused,
            pair_protocol: Span { min: format::PAIR_PROTOCOL, max: format::PAIR_PROTOCOL },
            datastore: self.about.datastore,
            state: format::STATE,
            reads: Reads {
                datastore: Span { min: format::DATASTORE, max: format::DATASTORE },
                state: Span { min: format::STATE, max: format::STATE },
            },
            one_way: None,
            // Whether its time is over was asked when the plan was made; a plan that is under way goes on.
            now: Some(Time(0)),
            pair: None,
        }
    }

    /// A bundle whose head is at hand.
    fn admitted(&self, head: &[u8], job: &Job) -> Result<Admitted, Trouble> {
        let (found, verified) = verified(head, &self.keys()?)?;
        if found != job.bundle {
            return Err(Trouble::lasting(format!(
                "this is bundle {found}, and the plan is for {}",
                job.bundle
            )));
        }
        let stock = Stock::load(&self.place)?;
        let (floor, refused) = (stock.floor(), self.failed()?);
        // Who made the plan was asked.
        let one_way = Version::parse(&job.version);
        let admitted =
            verified.admit(&Node { one_way: one_way.as_ref(), ..self.node(floor.as_ref(), &refused) });
        let (admitted, _) = admitted.map_err(|refused| Trouble::lasting(refused.to_string()))?;
        fits(&admitted, job)?;
        Ok(admitted)
    }

    /// Writes the bundle of a plan into the slot, from wherever it can be had.
    ///
    /// # Errors
    /// Why not; [`Trouble::again`] when it may be had later.
    pub fn write(&self, job: &Job, install: &mut Install<'_>) -> Result<Report, Trouble> {
        let opened = self.slot().take_if(|opened| opened.bundle == job.bundle);
        if let Some(Opened { bundle, head, origin, admitted, rest }) = opened {
            fits(&admitted, job)?;
            let readable = origin.is_some();
            Stock::load(&self.place)?.put(&self.place, &bundle, origin, &head)?;
            if let Some(rest) = rest {
                return stream(&admitted, rest, readable, install);
            }
        }
        let stock = Stock::load(&self.place)?;
        let unreadable = |error: std::io::Error| Trouble { text: error.to_string(), again: true };
        let kept = stock.head(&self.place, &job.bundle).map_err(unreadable)?;
        // One that was damaged on the way to the disk is as good as none.
        let kept = kept.and_then(|head| self.admitted(&head, job).ok());
        if let (Some(admitted), Some(origin)) = (&kept, &stock.origin) {
            match ranges(origin) {
                Ok(from) => {
                    let mut source = Picked::new(admitted, Ranged::new(admitted, from), self.kernels());
                    return Ok(install(&image(admitted.contents())?, &mut source)?);
                }
                Err(trouble) if job.first => return Err(trouble),
                Err(_) => {}
            }
        } else if job.first {
            return Err(Trouble::lasting(
                "the bundle came through a pipe that is gone: start the update again; what was written already is not written twice",
            ));
        }
        let Some(peer) = &self.peer else {
            return Err(Trouble::lasting("there is no other node to take the bundle from"));
        };
        let mut line = peer.dial()?;
        let admitted = match kept {
            Some(admitted) => admitted,
            None => {
                let head = line.head(&job.bundle)?;
                let admitted = self.admitted(&head, job)?;
                Stock::load(&self.place)?.put(&self.place, &job.bundle, None, &head)?;
                admitted
            }
        };
        let mut source = Picked::new(&admitted, line.blocks(&admitted, &job.bundle), self.kernels());
        Ok(install(&image(admitted.contents())?, &mut source)?)
    }

    /// A version is kept now: from here on nothing older than its floor is installed.
    ///
    /// # Errors
    /// When that cannot be made durable.
    pub fn kept(&self, version: &str) -> Result<(), Trouble> {
        let mut stock = Stock::load(&self.place)?;
        let Some(bundle) = stock.bundle.clone() else { return Ok(()) };
        let head = stock
            .head(&self.place, &bundle)
            .map_err(|error| Trouble { text: format!("the head of the bundle: {error}"), again: true })?;
        // An image that trusts no key any more, or a head that was damaged, must not stop a decided version.
        let contents = head.and_then(|head| contents(&head, &bundle, &self.keys().ok()?).ok());
        let Some(contents) = contents.filter(|contents| contents.manifest.version.as_str() == version) else {
            return Ok(());
        };
        if contents.manifest.one_way {
            stock.no_way_back_from(&self.place, version)?;
        }
        Ok(stock.raise(&self.place, &contents.manifest.floor)?)
    }

    /// Why the version before this one does not come back by hand, when it does not.
    ///
    /// # Errors
    /// When what is remembered cannot be used.
    pub fn may_go_back(&self, running: &str) -> Result<(), Trouble> {
        if Stock::load(&self.place)?.one_way.as_deref() == Some(running) {
            return Err(Trouble::lasting(format!(
                "nothing goes back from version {running}: what it keeps is not read by an older one"
            )));
        }
        Ok(())
    }
}

/// Whether what was opened is what a channel has named.
fn is_named(head: &[u8], contents: &Contents, named: &Named) -> Result<(), Trouble> {
    let version = &contents.manifest.version;
    let other = if version.as_str() != named.version.as_str() {
        format!("it has version {version}")
    } else if contents.size() != named.size {
        format!("it has {} bytes", contents.size())
    } else if Digest::of(head) != named.head {
        "its head is another one".to_owned()
    } else {
        return Ok(());
    };
    Err(Trouble::lasting(format!(
        "the bundle is not the one that the channel names, version {} of {} bytes: {other}",
        named.version, named.size
    )))
}

/// Writes what is being read from front to back. `readable`: it can be read again.
fn stream(
    admitted: &Admitted,
    rest: Rest<Input>,
    readable: bool,
    install: &mut Install<'_>,
) -> Result<Report, Trouble> {
    let mut source = Stream::new(admitted, rest);
    match install(&image(admitted.contents())?, &mut source) {
        Ok(report) => {
            source.drain();
            Ok(report)
        }
        Err(error) => {
            let trouble = Trouble::from(error);
            // A pipe is not read twice.
            Err(Trouble { again: trouble.again && readable, ..trouble })
        }
    }
}

/// The bundle where it came from.
fn ranges(origin: &str) -> Result<Box<dyn Ranges>, Trouble> {
    let gone = |error: std::io::Error| Trouble {
        text: format!("{origin}, which the bundle came from, cannot be read: {error}"),
        again: true,
    };
    if http::is_address(origin) {
        return Ok(Box::new(Http::new(origin).map_err(gone)?));
    }
    Ok(Box::new(File::open(origin).map_err(gone)?))
}

/// The plan's version is the text that the boot loader has; the bundle's is compared word for word.
fn fits(admitted: &Admitted, job: &Job) -> Result<(), Trouble> {
    let found = admitted.contents().manifest.version.as_str();
    if found == job.version {
        Ok(())
    } else {
        Err(Trouble::lasting(format!("the bundle has version {found}, and the plan is for {}", job.version)))
    }
}

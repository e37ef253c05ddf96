//! Two nodes of which the second takes everything from the first.

use super::serve::{Shelf, start};
use super::*;
use crate::update::bundle::contents;
use crate::update::bundle::tests::{OneNode, job, key, pack};
use crate::update::driver::hands::Job;
use crate::update::slot::tests::{System, newer};
use crate::update::slot::{BLOCK, Report, Volume};
use edgepair_bundle::Contents;
use edgepair_bundle::manifest::PayloadName;
use edgepair_host_io::atomic;
use edgepair_signature::TrustedKeys;
use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const SECRET: [u8; 32] = [7; 32];

struct Memory(Vec<u8>);

impl Volume for Memory {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let bytes = self.0.get(offset..offset + into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn read_medium(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.read(offset, into)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        panic!("whoever answers writes nothing")
    }

    fn flush(&mut self) -> io::Result<()> {
        panic!("whoever answers writes nothing")
    }
}

/// What the first node has.
struct First {
    name: String,
    head: Vec<u8>,
    root: Mutex<Vec<u8>>,
    tree: Vec<u8>,
    kernel: Option<File>,
    asked: AtomicUsize,
}

impl Shelf for First {
    fn head(&self, bundle: &str) -> Result<(Vec<u8>, Contents), String> {
        if bundle != self.name {
            return Err("it is not on that node yet".to_owned());
        }
        let keys = TrustedKeys::new([key(1)]).unwrap();
        Ok((self.head.clone(), contents(&self.head, bundle, &keys).unwrap()))
    }

    fn volumes(&self, payload: PayloadName) -> Vec<Box<dyn Volume>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match payload {
            // The first one has other blocks: the slot that does not hold the version.
            PayloadName::Root => {
                vec![
                    Box::new(Memory(vec![9; 3 * BLOCK])),
                    Box::new(Memory(self.root.lock().unwrap().clone())),
                ]
            }
            PayloadName::Verity => vec![Box::new(Memory(self.tree.clone()))],
            PayloadName::Uki => Vec::new(),
        }
    }

    fn kernel(&self, version: &str) -> Option<File> {
        assert_eq!(version, "2");
        self.kernel.as_ref().and_then(|file| file.try_clone().ok())
    }
}

fn first(new: &System) -> (First, Job) {
    let bundle = pack(new, &[1], |_| {});
    let node = OneNode::new(None);
    let offer = node.open(&bundle, None).unwrap();
    node.write(&job(&offer, true)).unwrap();
    let stock = crate::update::bundle::Stock::load(&node.bundles.place).unwrap();
    let head = stock.head(&node.bundles.place, &offer.bundle).unwrap().unwrap();
    let mut kernel = tempfile::tempfile().unwrap();
    kernel.write_all(&crate::update::boot::tests::uki("2")).unwrap();
    let first = First {
        name: offer.bundle.clone(),
        head,
        root: Mutex::new(new.root.clone()),
        tree: new.tree.clone(),
        kernel: Some(kernel),
        asked: AtomicUsize::new(0),
    };
    (first, job(&offer, false))
}

fn serve(shelf: Arc<dyn Shelf>, key: [u8; 32], side: Side) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec![listener.local_addr().unwrap()];
    start(listener, key, side, shelf).unwrap();
    Client { key: SECRET, side: Side::B, addresses }
}

/// The second node's line to the first, and the head of the bundle as it came over it.
fn dialled(second: &OneNode, job: &Job) -> (Dialled, Admitted) {
    let mut line = second.bundles.peer.as_ref().unwrap().dial().unwrap();
    let head = line.head(&job.bundle).unwrap();
    let admitted = second.bundles.admitted(&head, job).unwrap();
    (line, admitted)
}

#[test]
fn the_second_node_takes_everything_from_the_first() {
    let new = newer();
    let (first, job) = first(&new);
    let client = serve(Arc::new(first), SECRET, Side::A);
    let second = OneNode::new(Some(client));
    let report = second.write(&job).unwrap();
    assert_eq!(report, Report { kept: 0, copied: 37, fetched: 5 }, "and only what it does not have");
    second.machine.done(&new);
    // With the head kept and the slot whole, another go needs the line for nothing but the kernel image, which is there.
    assert_eq!(second.write(&job).unwrap().kept, 42);
}

#[test]
fn what_the_first_does_not_have_yet_is_waited_for() {
    let new = newer();
    let (first, job) = first(&new);
    let whole = first.root.lock().unwrap().clone();
    let first = Arc::new(First { root: Mutex::new(whole[..4 * BLOCK].to_vec()), ..first });
    let client = serve(Arc::clone(&first) as Arc<dyn Shelf>, SECRET, Side::A);
    let second = OneNode::new(Some(client));
    let other = Job { bundle: "ab".repeat(32), ..job.clone() };
    let trouble = second.write(&other).unwrap_err();
    assert!(trouble.again && trouble.text.contains("not on that node yet"), "{trouble}");
    let (line, admitted) = dialled(&second, &job);
    let mut from = line.blocks(&admitted, &job.bundle);
    from.pause = Duration::ZERO;
    let ids = [3, 17].map(|number| BlockId { payload: PayloadName::Root, number });
    let mut came = Vec::new();
    let slow = from.fetch(&ids, &mut |block| {
        came.push(block.id().number);
        Ok(())
    });
    // Block 17 never comes: the slot is given free, and another line is opened later.
    assert!(matches!(slow, Err(SlotError::Source { again: true, .. })), "{slow:?}");
    assert_eq!(came, [3]);
    *first.root.lock().unwrap() = whole;
    assert!(second.write(&job).is_ok());
    second.machine.done(&new);
}

#[test]
fn a_stranger_gets_nothing_and_gives_nothing() {
    let new = newer();
    for (key, side) in [([8; 32], Side::A), (SECRET, Side::B)] {
        let (first, job) = first(&new);
        let first = Arc::new(first);
        let client = serve(Arc::clone(&first) as Arc<dyn Shelf>, key, side);
        let second = OneNode::new(Some(client));
        let trouble = second.write(&job).unwrap_err();
        assert!(trouble.again, "{trouble}");
        assert_eq!(first.asked.load(Ordering::SeqCst), 0);
        assert_eq!(second.machine.disk.borrow().changes, 0);
    }
}

#[test]
fn a_head_that_is_not_signed_here_is_refused_whoever_sends_it() {
    let new = newer();
    let (first, job) = first(&new);
    let client = serve(Arc::new(first), SECRET, Side::A);
    let second = OneNode::new(Some(client));
    let keys = second.bundles.place.path(edgepair_layout::path::UPDATE_KEYS).join("release.pub");
    atomic::write(&keys, key(3).text().as_bytes(), 0o644).unwrap();
    let trouble = second.write(&job).unwrap_err();
    assert!(!trouble.again && trouble.text.contains("refused"), "{trouble}");
    assert_eq!(second.machine.disk.borrow().changes, 0);
}

#[test]
fn a_failing_disk_over_there_is_no_verdict() {
    let new = newer();
    let (first, job) = first(&new);
    // Compared before it is sent, it counts as not there; the pause makes this a slow test, so the line is asked directly.
    first.root.lock().unwrap()[17 * BLOCK] ^= 1;
    let client = serve(Arc::new(first), SECRET, Side::A);
    let second = OneNode::new(Some(client));
    let (line, admitted) = dialled(&second, &job);
    let mut from = line.blocks(&admitted, &job.bundle);
    let ids = [16, 17, 18].map(|number| BlockId { payload: PayloadName::Root, number });
    let mut came = 0;
    let count = from.ask(&ids, &mut |_| {
        came += 1;
        Ok(())
    });
    assert_eq!((count.unwrap(), came), (1, 1));
}

#[test]
fn a_line_that_was_silent_for_long_is_opened_anew() {
    let new = newer();
    let (first, job) = first(&new);
    let client = serve(Arc::new(first), SECRET, Side::A);
    let second = OneNode::new(Some(client));
    let (line, admitted) = dialled(&second, &job);
    let mut from = line.blocks(&admitted, &job.bundle);
    let ids = [3, 4].map(|number| BlockId { payload: PayloadName::Root, number });
    assert_eq!(from.ask(&ids, &mut |_| Ok(())).unwrap(), 2);
    // What the other node does to a line on which nothing is asked.
    from.dialled.line.close();
    assert!(matches!(from.ask(&ids, &mut |_| Ok(())), Err(SlotError::Source { again: true, .. })));
    from.idle = Duration::ZERO;
    assert_eq!(from.ask(&ids, &mut |_| Ok(())).unwrap(), 2);
}

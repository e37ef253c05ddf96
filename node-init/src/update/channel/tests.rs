//! A watched channel: who asks, how often, what begins, what does not come back.

use super::*;
use crate::update::bundle::tests::{OneNode, job, key, pack};
use crate::update::bundle::{Body, Terms};
use crate::update::driver::said::Start;
use crate::update::slot::tests::newer;
use edgepair_bundle::channel::file::assemble;
use edgepair_bundle::channel::{Channel, Unverified};
use edgepair_bundle::{Digest, Unverified as Bundle};
use edgepair_host_io::{HostRunner, atomic};
use edgepair_layout::path::UPDATE_KEYS;
use edgepair_signature::{KeyId, Prehash, TrustedKeys, sign};
use std::io::{Cursor, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const ISSUED: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

fn channel() -> Channel {
    Channel {
        name: "stable".into(),
        serial: 7,
        issued: Time(ISSUED),
        expires: Time(ISSUED + 1000 * HOUR),
        windows: Vec::new(),
        jitter: 0,
        bundle: Named {
            url: "2.bundle".into(),
            version: Version::parse("2").unwrap(),
            size: 4096,
            head: Digest::of(b"head"),
        },
        waves: Vec::new(),
    }
}

fn file(channel: &Channel, number: u8) -> Vec<u8> {
    let text = channel.text();
    let hash = Prehash::of_bytes(text.as_bytes());
    let seal = sign(&[number; 32], KeyId([number; 8]), &hash, "file:channel.toml").unwrap();
    assemble(&text, &[seal]).unwrap().into_bytes()
}

fn answer(channel: &Channel) -> Answer {
    let keys = TrustedKeys::new([key(1)]).unwrap();
    let signed = Unverified::read(&file(channel, 1)).unwrap().verify(&keys, Some("stable"));
    Answer { file: Ok(signed.unwrap()), offset: Ok(0) }
}

fn nothing() -> Answer {
    Answer { file: Err("the server is away".into()), offset: Ok(0) }
}

fn settings() -> Settings {
    Settings {
        address: "https://updates.example/stable.channel".into(),
        pair: "site-042".into(),
        automatic: true,
        windows: Vec::new(),
        zone: "UTC".into(),
        poll: HOUR,
    }
}

fn now() -> Now {
    Now {
        leads: true,
        running: "1".into(),
        failed: Vec::new(),
        time: Some(Time(ISSUED + 60)),
        whole: true,
        busy: false,
    }
}

struct Node {
    watcher: Watcher,
    files: tempfile::TempDir,
}

impl Node {
    fn new(settings: Settings, random: u64) -> Self {
        let files = tempfile::tempdir().unwrap();
        let watcher = Watcher::new(settings, Place::at(files.path()), random).unwrap();
        Self { watcher, files }
    }

    /// Seconds until something is to be done, at most so many.
    fn wait(&mut self, now: &Now, most: u64) -> Option<(u64, Act)> {
        (1..=most).find_map(|second| self.watcher.tick(now).map(|act| (second, act)))
    }

    fn asks(&mut self, now: &Now, most: u64) -> u64 {
        match self.wait(now, most) {
            Some((second, Act::Ask(question))) => {
                assert_eq!((question.name.as_str(), question.zone.as_str()), ("stable", "UTC"));
                second
            }
            other => panic!("{other:?} within {most} s"),
        }
    }
}

#[test]
fn the_active_node_asks_in_its_own_time_and_the_other_one_never() {
    let mut firsts = Vec::new();
    for random in 0..50 {
        let mut node = Node::new(settings(), random);
        let standby = Now { leads: false, ..now() };
        assert_eq!(node.wait(&standby, 10_000), None);
        assert_eq!(node.watcher.status().words, "the active node asks");
        let busy = Now { busy: true, ..now() };
        firsts.push(node.asks(&busy, FIRST + 1));
        assert_eq!(node.wait(&busy, 1000), None, "no second question before the answer");
        node.watcher.answered(answer(&channel()), &busy);
        let next = node.asks(&busy, 2 * HOUR);
        assert!((HOUR * 9 / 10..=HOUR * 11 / 10).contains(&next), "{next}");
    }
    let (least, most) = (firsts.iter().min().unwrap(), firsts.iter().max().unwrap());
    assert!(most - least > 200, "nodes of many sites do not ask at once: {firsts:?}");
}

#[test]
fn a_server_that_is_away_is_asked_less_and_less_often() {
    let mut node = Node::new(settings(), 1);
    let now = now();
    node.asks(&now, 400);
    let mut waits = Vec::new();
    for failures in 1..12 {
        assert!(!node.watcher.answered(nothing(), &now));
        assert_eq!(node.watcher.problem().is_some(), failures >= PROBLEM, "after {failures}");
        waits.push(node.asks(&now, 2 * HOUR));
    }
    for (at, wait) in waits.iter().enumerate() {
        let usual = (60 << at).min(HOUR);
        assert!((usual / 2..=usual).contains(wait), "{waits:?}");
    }
    assert!(node.watcher.status().rows().contains("the server is away"));
    node.watcher.answered(answer(&channel()), &now);
    assert_eq!((node.watcher.problem(), node.watcher.status().troubles.len()), (None, 0));
}

#[test]
fn an_update_begins_once_and_not_again_at_once() {
    let mut node = Node::new(settings(), 1);
    node.asks(&now(), 400);
    assert!(node.watcher.answered(answer(&channel()), &now()));
    let Some((_, Act::Start(order))) = node.wait(&now(), LOOK) else { panic!("nothing begins") };
    assert_eq!(order.address, "https://updates.example/2.bundle");
    assert_eq!((order.pair.as_deref(), order.limit), (Some("site-042"), None));
    let terms = Start::of_channel(order, None).terms();
    assert_eq!((terms.pair.as_deref(), terms.one_way), (Some("site-042"), None), "never a step of one way");
    node.watcher.started(Err("the bundle is refused".into()));
    assert!(node.watcher.problem().unwrap().contains("did not begin: the bundle is refused"));
    assert_eq!(node.wait(&now(), 100), None, "nor in the next seconds");
    assert!(node.watcher.status().words.contains("begins again at"));
    // Nor when the node comes back from a reboot.
    node.watcher = Watcher::new(settings(), Place::at(node.files.path()), 2).unwrap();
    node.asks(&now(), 400);
    node.watcher.answered(answer(&channel()), &now());
    assert_eq!(node.wait(&now(), 100), None);
    let later = Now { time: Some(Time(ISSUED + 60 + HOUR)), ..now() };
    assert!(matches!(node.wait(&later, LOOK), Some((_, Act::Start(_)))));
    assert_eq!(node.wait(&later, 100), None, "and then after twice the time");
    // Another version is another matter.
    let mut next = Channel { serial: 8, ..channel() };
    next.bundle.version = Version::parse("3").unwrap();
    node.watcher.ask();
    node.watcher.answered(answer(&next), &later);
    assert!(matches!(node.wait(&later, LOOK), Some((_, Act::Start(_)))));
}

#[test]
fn a_note_that_cannot_be_made_begins_nothing() {
    let mut node = Node::new(settings(), 1);
    node.asks(&now(), 400);
    node.watcher.answered(answer(&channel()), &now());
    let path = node.watcher.place.path(edgepair_layout::path::CHANNEL_MEMORY);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("full")).unwrap();
    assert_eq!(node.wait(&now(), 100), None);
    assert!(node.watcher.problem().unwrap().contains("does not begin"));
    let newer = answer(&Channel { serial: 8, ..channel() });
    assert!(!node.watcher.answered(newer, &now()), "nor is a file taken that would be forgotten");
    assert_eq!(node.watcher.file.as_ref().unwrap().0.channel().serial, 7);
}

#[test]
fn what_a_node_waits_for_is_said_in_words() {
    let words = |now: Now, settings: Settings| {
        let mut node = Node::new(settings, 1);
        node.asks(&now, 400);
        node.watcher.answered(answer(&channel()), &now);
        assert_eq!(node.wait(&now, 100), None, "{now:?}");
        node.watcher.status().words
    };
    for (time, text) in [
        (None, "has not been set"),
        (Some(Time(0)), "clock of this node is wrong"),
        (Some(Time(ISSUED - 1)), "clock of this node is wrong"),
        (Some(Time(ISSUED + 1000 * HOUR)), "expired"),
    ] {
        let said = words(Now { time, ..now() }, settings());
        assert!(said.contains(text), "{said}");
    }
    assert!(words(Now { running: "2".into(), ..now() }, settings()).contains("the newest there is"));
    assert!(words(Now { failed: vec!["2".into()], ..now() }, settings()).contains("failed here before"));
    assert!(words(Now { whole: false, ..now() }, settings()).contains("when the pair is healthy"));
    assert!(words(Now { busy: true, ..now() }, settings()).contains("under way"));
    let announce = Settings { automatic: false, ..settings() };
    assert!(words(now(), announce).contains("node-init update start --channel"));
    let windows = vec![Window::parse("Mon 00:00-00:01").unwrap()];
    assert!(words(now(), Settings { windows, ..settings() }).contains("windows are closed"));
}

#[test]
fn the_end_of_a_window_is_the_end_of_the_plan() {
    // ISSUED is a Friday, 08:00 UTC.
    let windows = vec![Window::parse("Fri 06:00-12:00").unwrap()];
    let mut node = Node::new(Settings { windows, ..settings() }, 1);
    node.asks(&now(), 400);
    node.watcher.answered(answer(&channel()), &now());
    let Some((_, Act::Start(order))) = node.wait(&now(), LOOK) else { panic!("nothing begins") };
    assert_eq!(order.limit, Some(4 * HOUR - 60));
}

#[test]
fn an_older_file_does_not_come_back_on_either_node() {
    let of = |serial, jitter| answer(&Channel { serial, jitter, ..channel() });
    let mut first = Node::new(settings(), 1);
    let busy = Now { busy: true, ..now() };
    first.asks(&busy, 400);
    assert!(first.watcher.answered(of(7, 0), &busy));
    for (replayed, why) in [(of(6, 0), "hands out an old one"), (of(7, 1), "two different channel files")] {
        assert!(!first.watcher.answered(replayed, &busy));
        let status = first.watcher.status();
        assert!(status.troubles[0].contains(why), "{:?}", status.troubles);
        assert_eq!(status.serial, Some(7), "the one before stays in force");
    }
    // The other node was told, has it on disk, and becomes active.
    let mut second = Node::new(settings(), 2);
    second.watcher.hear(&first.watcher.seen().unwrap());
    second.watcher = Watcher::new(settings(), Place::at(second.files.path()), 3).unwrap();
    second.asks(&busy, 400);
    assert!(!second.watcher.answered(of(6, 0), &busy));
    assert!(second.watcher.status().troubles[0].contains("no. 6, and no. 7 was here before"));
    assert_eq!(second.wait(&now(), 25), None, "and nothing begins");
    // Nonsense from a damaged agent changes nothing.
    let nonsense = Word { name: "../x".into(), serial: u64::MAX, digest: "?".into() };
    second.watcher.hear(&nonsense);
    assert_eq!(second.watcher.seen(), first.watcher.seen());
    // A node that was active long ago does not act on what it has from then.
    first.wait(&Now { leads: false, ..now() }, 1);
    assert_eq!(first.watcher.status().serial, None);
    assert!(first.watcher.order(None, None).unwrap_err().contains("active node"));
}

/// Names and contents.
type Files = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that knows nothing but whole files; `None` is not there.
fn serve(files: Files) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default();
            assert!(!request.to_lowercase().contains("range:"), "{request}");
            let files = files.lock().unwrap();
            let found = files.iter().find(|(name, _)| name == path);
            let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
            let body = found.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&body);
        }
    });
    address
}

#[test]
fn a_static_server_is_enough_and_what_it_gives_is_checked() {
    let files = Arc::new(Mutex::new(Vec::new()));
    let server = serve(Arc::clone(&files));
    let node = tempfile::tempdir().unwrap();
    let place = Place::at(node.path());
    let question =
        Question { address: format!("{server}/a/stable.channel"), name: "stable".into(), zone: "UTC".into() };
    let ask = || fetch::ask(&question, &place, &HostRunner).file.map(|signed| signed.channel().serial);
    assert!(ask().unwrap_err().contains("trusts no key"));
    std::fs::create_dir_all(place.path(UPDATE_KEYS)).unwrap();
    atomic::write(&place.path(UPDATE_KEYS).join("a.pub"), key(1).text().as_bytes(), 0o644).unwrap();
    assert!(ask().unwrap_err().contains("404"));
    let put = |bytes: Vec<u8>| *files.lock().unwrap() = vec![("/a/stable.channel".to_owned(), bytes)];
    put(file(&channel(), 1));
    assert_eq!(ask(), Ok(7));
    put(file(&channel(), 2));
    assert!(ask().unwrap_err().contains("signed with another key"));
    let good = file(&channel(), 1);
    let mut bad = good.clone();
    bad[60] ^= 1;
    put(bad);
    assert!(ask().unwrap_err().contains("not what was signed"));
    put(good[..good.len() / 2].to_vec());
    assert!(ask().unwrap_err().contains("no channel file"));
    put(file(&Channel { name: "beta".into(), ..channel() }, 1));
    assert!(ask().unwrap_err().contains("this is the file of channel beta"));
    put(vec![b'#'; 1 << 20]);
    assert!(ask().unwrap_err().contains("length limit"), "an endless file is not read to its end");
}

#[test]
fn the_bundle_has_to_be_the_one_that_the_channel_names() {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    let keys = TrustedKeys::new([key(1)]).unwrap();
    let verified = Bundle::open(&bundle[..]).unwrap().verify(&keys).unwrap();
    let contents = verified.contents();
    let head = usize::try_from(contents.head_size()).unwrap();
    let named = Named {
        url: "2.bundle".into(),
        version: Version::parse("2").unwrap(),
        size: bundle.len() as u64,
        head: Digest::of(&bundle[..head]),
    };
    assert_eq!(contents.size(), named.size);
    let node = OneNode::new(None);
    let open = |named: Named, bundle: &[u8]| {
        let terms = Terms { named: Some(named), pair: Some("site-042".into()), ..Terms::default() };
        node.bundles.open_on(
            Some(Body(Box::new(Cursor::new(bundle.to_vec())))),
            None,
            Some(Time(ISSUED)),
            &terms,
        )
    };
    // The same version, signed by the right key, and not the one that was meant.
    let twin = pack(&new, &[1], |manifest| manifest.trial_seconds = 60);
    for (named, bundle, why) in [
        (Named { version: Version::parse("2.0").unwrap(), ..named.clone() }, &bundle, "has version 2"),
        (Named { size: named.size + 512, ..named.clone() }, &bundle, "bytes"),
        (Named { head: Digest::of(b""), ..named.clone() }, &bundle, "its head is another one"),
        (named.clone(), &twin, "is not the one that the channel names"),
    ] {
        let trouble = open(named, bundle).unwrap_err();
        assert!(trouble.text.contains(why), "{why}: {trouble}");
        assert_eq!(
            (node.machine.disk.borrow().changes, node.machine.esp.0.borrow().changes),
            (0, 0),
            "{why}"
        );
    }
    let offer = open(named, &bundle).unwrap();
    node.write(&job(&offer, true)).unwrap();
    node.machine.done(&new);
}

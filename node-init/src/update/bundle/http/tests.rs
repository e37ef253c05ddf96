//! A web server that gives ranges, breaks off, moves, changes its file, or does not know ranges.

use super::*;
use crate::update::bundle::tests::{OneNode, job, pack};
use crate::update::slot::tests::newer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Default)]
struct Server {
    file: Mutex<Vec<u8>>,
    /// Answers before a connection is closed; 0 is without end.
    patience: usize,
    whole: bool,
    /// Where the first address leads.
    moved: Option<String>,
    sent: AtomicUsize,
    connections: AtomicUsize,
}

impl Server {
    fn start(self) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/site.bundle", listener.local_addr().unwrap());
        let server = Arc::new(self);
        let shared = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&shared);
                std::thread::spawn(move || server.talk(&stream.unwrap()));
            }
        });
        (server, address)
    }

    fn talk(&self, stream: &TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let mut reader = BufReader::new(stream);
        let mut answers = 0;
        loop {
            let (mut first, mut range) = (String::new(), None);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if first.is_empty() {
                    first.clone_from(&line);
                }
                if let Some(text) = line.to_lowercase().strip_prefix("range: bytes=") {
                    let (from, to) = text.trim().split_once('-').unwrap();
                    range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap() + 1));
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut stream = stream;
            let file = self.file.lock().unwrap().clone();
            let tag = digest_of(&file);
            if let Some(to) = self.moved.as_ref().filter(|_| first.contains("/site.bundle")) {
                write!(stream, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").unwrap();
            } else if self.whole {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len()).unwrap();
                let _ = stream.write_all(&file);
            } else if let Some((from, to)) = range.filter(|(from, _)| *from < file.len()) {
                let to = to.min(file.len());
                write!(
                    stream,
                    "HTTP/1.1 206 Partial Content\r\nETag: \"{tag}\"\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\n\r\n",
                    to - 1,
                    file.len(),
                    to - from
                )
                .unwrap();
                self.sent.fetch_add(to - from, Ordering::SeqCst);
                stream.write_all(&file[from..to]).unwrap();
            } else {
                write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            answers += 1;
            if answers == self.patience {
                return;
            }
        }
    }
}

fn digest_of(file: &[u8]) -> String {
    edgepair_host_io::digest::of_bytes(file)[..16].to_owned()
}

#[test]
fn a_node_fetches_what_it_does_not_have() {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    for patience in [0, 1] {
        let (server, address) =
            Server { file: Mutex::new(bundle.clone()), patience, ..Server::default() }.start();
        let node = OneNode::new(None);
        let offer = node.bundles.open(None, Some(address), None).unwrap();
        assert!(node.machine.disk.borrow().changes == 0 && node.bundles.slot().is_some());
        let report = node.write(&job(&offer, true)).unwrap();
        assert_eq!(report.fetched, 5);
        node.machine.done(&new);
        let connections = server.connections.load(Ordering::SeqCst);
        assert_eq!(connections > 2, patience == 1, "{connections} connections");
        // The kernel image only: its entry is taken away before anything is written.
        let before = server.sent.load(Ordering::SeqCst);
        node.write(&job(&offer, true)).unwrap();
        let more = server.sent.load(Ordering::SeqCst) - before;
        assert!(more > 0 && more <= crate::update::boot::tests::uki("2").len(), "{more}");
    }
}

#[test]
fn a_large_file_is_fetched_in_part() {
    let file: Vec<u8> = (0..6_000_000_u32).map(|at| (at / 7 % 251) as u8).collect();
    let (server, address) = Server { file: Mutex::new(file.clone()), ..Server::default() }.start();
    let mut head = vec![0; 300_000];
    Http::new(&address).unwrap().reader().read_exact(&mut head).unwrap();
    assert!(file.starts_with(&head));
    let sent = server.sent.load(Ordering::SeqCst);
    assert!(sent <= 600_000, "{sent} bytes for the head");
    let mut all = Vec::new();
    Http::new(&address).unwrap().reader().read_to_end(&mut all).unwrap();
    assert!(all == file);
}

#[test]
fn a_server_that_moves_is_followed_and_one_that_gives_no_ranges_is_refused() {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    let moved =
        Server { file: Mutex::new(bundle.clone()), moved: Some("/there".into()), ..Server::default() };
    let node = OneNode::new(None);
    node.bundles.open(None, Some(moved.start().1), None).unwrap();
    let round = Server { moved: Some("/site.bundle".into()), ..Server::default() };
    let trouble = node.bundles.open(None, Some(round.start().1), None).unwrap_err();
    assert!(trouble.text.contains("redirections"), "{trouble}");
    let whole = Server { file: Mutex::new(bundle), whole: true, ..Server::default() };
    let trouble = node.bundles.open(None, Some(whole.start().1), None).unwrap_err();
    assert!(trouble.text.contains("whole files only"), "{trouble}");
    let trouble = node.bundles.open(None, Some("http://127.0.0.1:1/x".into()), None).unwrap_err();
    assert!(trouble.text.contains("127.0.0.1:1"), "{trouble}");
}

#[test]
fn a_file_that_changes_is_noticed_and_may_be_tried_again() {
    let new = newer();
    let bundle = pack(&new, &[1], |_| {});
    let (server, address) = Server { file: Mutex::new(bundle.clone()), ..Server::default() }.start();
    let mut http = Http::new(&address).unwrap();
    Ranges::read(&mut http, 0..512).unwrap();
    *server.file.lock().unwrap() = pack(&new, &[1], |manifest| manifest.trial_seconds = 60);
    let error = Ranges::read(&mut http, 512..1024).unwrap_err().to_string();
    assert!(error.contains("another one"), "{error}");
    // A node that asks for the old one gets blocks that are the same, and refuses those that are not.
    let node = OneNode::new(None);
    *server.file.lock().unwrap() = bundle.clone();
    let offer = node.bundles.open(None, Some(address), None).unwrap();
    *server.file.lock().unwrap() = vec![0x55; bundle.len()];
    let trouble = node.write(&job(&offer, true)).unwrap_err();
    assert!(!trouble.again && trouble.text.contains("not what was signed"), "{trouble}");
    server.file.lock().unwrap().truncate(100);
    let trouble = node.write(&job(&offer, true)).unwrap_err();
    assert!(trouble.again, "it may be whole again later: {trouble}");
}

#[test]
fn addresses_are_read_strictly_and_https_is_not_left() {
    for good in ["https://updates.example/a.bundle", "http://192.0.2.9:8080/a?b=c", "https://[2001:db8::9]/a"]
    {
        assert!(is_address(good) && Http::new(good).is_ok(), "{good}");
    }
    for bad in ["https://", "https://user:word@updates.example/a", "http:///a", "https://a b/"] {
        assert!(Http::new(bad).is_err(), "{bad}");
    }
    for file in ["/var/tmp/x.bundle", "https", "-", "ftp://x"] {
        assert!(!is_address(file), "{file}");
    }
    let from: Uri = "https://updates.example/a".parse().unwrap();
    assert_eq!(elsewhere(&from, "/b?c").unwrap().to_string(), "https://updates.example/b?c");
    assert_eq!(elsewhere(&from, "https://cdn.example/a").unwrap().host(), Some("cdn.example"));
    for bad in ["http://cdn.example/a", "file:///etc/shadow", "https://u:p@cdn.example/"] {
        assert!(elsewhere(&from, bad).is_err(), "{bad}");
    }
}

#[test]
fn without_authorities_nothing_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    assert!(trusting(&dir.path().join("none")).is_err());
    let empty = dir.path().join("empty.crt");
    edgepair_host_io::atomic::write(&empty, b"", 0o644).unwrap();
    assert!(trusting(&empty).unwrap_err().to_string().contains("there is none"));
    let made = rcgen::generate_simple_self_signed(["updates.example".to_owned()]).unwrap();
    let one = dir.path().join("one.crt");
    let code = STANDARD.encode(made.cert.der());
    let text = format!("-----BEGIN CERTIFICATE-----\n{code}\n-----END CERTIFICATE-----\n");
    edgepair_host_io::atomic::write(&one, text.as_bytes(), 0o644).unwrap();
    assert!(trusting(&one).is_ok());
}

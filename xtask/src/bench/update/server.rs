//! A web server for files of one folder, which gives ranges and counts what it sends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A running server. It ends with the program.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    /// Serves a folder on a free port of this computer's loopback.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = format!("http://{}", listener.local_addr()?);
        let (counts, folder) = (Arc::new(Counts::default()), folder.to_owned());
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (folder, counts) = (folder.clone(), Arc::clone(&shared));
                // A client that goes away in the middle is no error of the benchmark.
                std::thread::spawn(move || drop(talk(&stream, &folder, &counts)));
            }
        });
        Ok(Self { address, counts })
    }

    /// Bytes of bodies that were sent, and answers, since this was asked last.
    pub fn take(&self) -> (u64, u64) {
        (self.counts.bytes.swap(0, Ordering::SeqCst), self.counts.requests.swap(0, Ordering::SeqCst))
    }
}

struct Request {
    method: String,
    path: String,
    range: Option<(u64, Option<u64>)>,
    close: bool,
}

fn talk(stream: &TcpStream, folder: &Path, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        answer(stream, folder, &request, counts)?;
        if request.close {
            break;
        }
    }
    Ok(())
}

/// The next request of a connection; none at its end.
fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut request = Request { method, path, range: None, close: first.contains("HTTP/1.0") };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(Some(request));
        }
        let line = line.trim().to_lowercase();
        if let Some((from, to)) = line.strip_prefix("range: bytes=").and_then(|text| text.split_once('-')) {
            request.range = from.parse().ok().map(|from| (from, to.parse().ok()));
        }
        request.close |= line == "connection: close";
    }
}

fn answer(mut stream: &TcpStream, folder: &Path, request: &Request, counts: &Counts) -> io::Result<()> {
    let name = request.path.trim_start_matches('/');
    let plain = name.split('/').all(|part| !part.is_empty() && part != "..");
    let file = Some(folder.join(name)).filter(|path: &PathBuf| plain && path.is_file()).map(File::open);
    let Some(mut file) = file.transpose()? else {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    };
    let size = file.metadata()?.len();
    let (from, to) = match request.range {
        Some((from, _)) if from >= size => {
            let head = format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n"
            );
            return stream.write_all(head.as_bytes());
        }
        Some((from, to)) => (from, to.map_or(size, |to| size.min(to + 1))),
        None => (0, size),
    };
    let (status, range) = match request.range {
        Some(_) => ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{size}\r\n", to - 1)),
        None => ("200 OK", String::new()),
    };
    // One name for one state of the file: its size and time do in a benchmark.
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"{size}\"\r\nAccept-Ranges: bytes\r\n{range}Content-Length: {}\r\n\r\n",
        to - from
    );
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    file.seek(SeekFrom::Start(from))?;
    let mut rest = file.take(to - from);
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = rest.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&piece[..read])?;
        counts.bytes.fetch_add(read as u64, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_and_counted() {
        let folder = std::env::temp_dir().join(format!("edgepair-bench-server-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a scratch file of this test")]
        std::fs::write(folder.join("x"), b"0123456789").unwrap();
        let server = Server::start(&folder).unwrap();
        let ask = |head: &str| {
            let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
            stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            said
        };
        assert!(ask("GET /x HTTP/1.1\r\nRange: bytes=2-4").ends_with("\r\n\r\n234"));
        assert!(ask("GET /x HTTP/1.1\r\nRange: bytes=8-99").contains("bytes 8-9/10"));
        assert!(ask("GET /x HTTP/1.1").ends_with("0123456789"));
        assert!(ask("HEAD /x HTTP/1.1").contains("Content-Length: 10\r\n"));
        assert_eq!(server.take(), (15, 4));
        assert!(ask("GET /x HTTP/1.1\r\nRange: bytes=10-").contains("416"));
        assert!(ask("GET /../x HTTP/1.1").contains("404") && ask("GET /y HTTP/1.1").contains("404"));
        assert_eq!(server.take(), (0, 3));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

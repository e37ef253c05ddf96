//! A bundle on a web server, read by ranges (RFC 9110, "Range Requests"): only what is missing travels, and what broke off
//! goes on. A static server is enough. What comes is signed, so plain HTTP is no danger to the slot; HTTPS trusts the
//! authorities of the image.

use super::source::Ranges;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

#[cfg(test)]
mod tests;

/// To reach a server.
const DIAL: Duration = Duration::from_secs(10);
/// For one answer: 4 MiB at 70 kB/s.
const ANSWER: Duration = Duration::from_secs(60);
/// Bytes that are asked for at a time while the head is read.
const PIECE: u64 = 256 << 10;
/// Redirections that are followed.
const MOVES: usize = 5;
/// Authorities of the image (Debian's ca-certificates).
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whether a bundle's name is the address of one.
pub fn is_address(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// A file on a web server.
pub struct Http {
    runtime: Runtime,
    address: Uri,
    sender: Option<SendRequest<Empty<Bytes>>>,
    /// What the server calls this state of the file: another one is another file.
    tag: Option<String>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Http({})", self.address)
    }
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::other(why.into())
}

impl Http {
    /// For a file at this address; nothing is asked yet.
    ///
    /// # Errors
    /// When that is no address.
    pub fn new(address: &str) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address: Uri = address.parse().map_err(|error| wrong(format!("{address}: {error}")))?;
        check(&address)?;
        Ok(Self { runtime, address, sender: None, tag: None })
    }

    /// Reads from its beginning, as far as somebody reads.
    pub fn reader(self) -> impl Read + Send {
        FromStart { http: self, at: 0, piece: Vec::new(), taken: 0 }
    }

    /// The whole of a small file, of at most so many bytes. A server that knows no ranges will do.
    ///
    /// # Errors
    /// The server's, or that the file is larger.
    pub fn whole(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let named =
            |error: io::Error, address: &Uri| io::Error::new(error.kind(), format!("{address}: {error}"));
        match self.ask(&What::Whole(most)).map_err(|error| named(error, &self.address))? {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(named(io::ErrorKind::ConnectionReset.into(), &self.address)),
        }
    }

    /// One answer. `None`: the connection was closed meanwhile, which a server may do at any time.
    fn ask(&mut self, what: &What) -> io::Result<Option<Bytes>> {
        for _ in 0..=MOVES {
            let fresh = self.sender.is_none();
            let sender = match &mut self.sender {
                Some(sender) => sender,
                none => none.insert(self.runtime.block_on(connect(&self.address))?),
            };
            let answer = self.runtime.block_on(get(sender, &self.address, what));
            match answer {
                Ok(Answer::Bytes(bytes, tag)) => {
                    if self.tag.is_some() && self.tag != tag {
                        return Err(wrong("the file on the server became another one while it was read"));
                    }
                    self.tag = tag;
                    return Ok(Some(bytes));
                }
                Ok(Answer::End) => return Ok(Some(Bytes::new())),
                Ok(Answer::Moved(to)) => {
                    self.address = elsewhere(&self.address, &to)?;
                    self.sender = None;
                }
                Err(error) => {
                    self.sender = None;
                    return if fresh { Err(error) } else { Ok(None) };
                }
            }
        }
        Err(wrong(format!("more than {MOVES} redirections")))
    }
}

impl Ranges for Http {
    fn read(&mut self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let named =
            |error: io::Error, address: &Uri| io::Error::new(error.kind(), format!("{address}: {error}"));
        for _ in 0..2 {
            let answer =
                self.ask(&What::Range(range.clone())).map_err(|error| named(error, &self.address))?;
            if let Some(bytes) = answer {
                return Ok(bytes.to_vec());
            }
        }
        Err(named(io::ErrorKind::ConnectionReset.into(), &self.address))
    }

    fn gap(&self) -> u64 {
        32 << 10
    }

    fn most(&self) -> u64 {
        4 << 20
    }
}

struct FromStart {
    http: Http,
    at: u64,
    piece: Vec<u8>,
    taken: usize,
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.piece.len() {
            self.piece = self.http.read(self.at..self.at + PIECE)?;
            self.at += self.piece.len() as u64;
            self.taken = 0;
        }
        let bytes = &self.piece[self.taken..];
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.taken += count;
        Ok(count)
    }
}

fn check(address: &Uri) -> io::Result<()> {
    let scheme = address.scheme_str().is_some_and(|scheme| scheme == "https" || scheme == "http");
    let named = address.authority().is_some_and(|authority| {
        // A password would stand in the plan, in status and in the journal.
        !authority.as_str().contains('@') && !authority.host().is_empty()
    });
    if scheme && named {
        Ok(())
    } else {
        Err(wrong(format!("{address} is not an address like https://updates.example/site.bundle")))
    }
}

/// Where a redirection leads: not from HTTPS to something that proves less.
fn elsewhere(from: &Uri, to: &str) -> io::Result<Uri> {
    let to = if to.starts_with('/') {
        let authority = from.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        format!("{}://{authority}{to}", from.scheme_str().unwrap_or("https"))
    } else {
        to.to_owned()
    };
    let uri: Uri = to.parse().map_err(|error| wrong(format!("a redirection to {to}: {error}")))?;
    check(&uri)?;
    if from.scheme_str() == Some("https") && uri.scheme_str() != Some("https") {
        return Err(wrong(format!("a redirection from HTTPS to {uri}")));
    }
    Ok(uri)
}

async fn connect(address: &Uri) -> io::Result<SendRequest<Empty<Bytes>>> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let secure = address.scheme_str() == Some("https");
    let host = address.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = address.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = timeout(DIAL, TcpStream::connect((host.as_str(), port))).await.map_err(late)??;
    stream.set_nodelay(true)?;
    if !secure {
        let (sender, conversation) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move { drop(conversation.await) });
        return Ok(sender);
    }
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let connector = TlsConnector::from(trusting(Path::new(AUTHORITIES))?);
    let stream = timeout(DIAL, connector.connect(name, stream)).await.map_err(late)??;
    let (sender, conversation) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move { drop(conversation.await) });
    Ok(sender)
}

fn trusting(authorities: &Path) -> io::Result<Arc<ClientConfig>> {
    let named = |why: String| wrong(format!("the trusted authorities in {}: {why}", authorities.display()));
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(authorities).map_err(|error| named(error.to_string()))?;
    // One that is of a kind that is not known is not trusted; that is no reason to trust none.
    roots.add_parsable_certificates(certificates.flatten());
    if roots.is_empty() {
        return Err(named("there is none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What is asked for.
enum What {
    /// These bytes.
    Range(Range<u64>),
    /// All of it, which has at most so many bytes.
    Whole(usize),
}

enum Answer {
    /// The range, and the tag of the file.
    Bytes(Bytes, Option<String>),
    /// The range lies behind the end.
    End,
    Moved(String),
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>, address: &Uri, what: &What) -> io::Result<Answer> {
    use What::{Range, Whole};
    let path = address.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let host = address.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("edgepair/", env!("CARGO_PKG_VERSION")));
    let request = match what {
        Range(range) => {
            request.header(header::RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))
        }
        // What somebody on the way has kept may be an older one.
        Whole(_) => request.header(header::CACHE_CONTROL, "no-cache"),
    };
    let request = request.body(Empty::new()).map_err(io::Error::other)?;
    let conversation = async {
        sender.ready().await.map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if status.is_redirection() {
            let to = text(header::LOCATION).ok_or_else(|| wrong(format!("{status} without an address")))?;
            return Ok(Answer::Moved(to));
        }
        let content = text(header::CONTENT_RANGE).unwrap_or_default();
        let tag = text(header::ETAG).or_else(|| text(header::LAST_MODIFIED));
        let most = match (what, status) {
            (Range(range), StatusCode::PARTIAL_CONTENT)
                if content.starts_with(&format!("bytes {}-", range.start)) =>
            {
                usize::try_from(range.end - range.start).map_err(io::Error::other)?
            }
            (Whole(most), StatusCode::OK) => *most,
            (Range(_), StatusCode::PARTIAL_CONTENT) => {
                return Err(wrong(format!("the server sent another range: {content:?}")));
            }
            (Range(_), StatusCode::OK) => {
                return Err(wrong("this server gives whole files only, and not ranges of them"));
            }
            (Range(_), StatusCode::RANGE_NOT_SATISFIABLE) => return Ok(Answer::End),
            (_, other) => return Err(wrong(format!("the server answered {other}"))),
        };
        let body = Limited::new(response.into_body(), most).collect().await;
        Ok(Answer::Bytes(body.map_err(io::Error::other)?.to_bytes(), tag))
    };
    timeout(ANSWER, conversation).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

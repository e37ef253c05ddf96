//! One HTTP/1.1 conversation over TCP, with TLS or without: what both backends need of a web client.

use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use witness_protocol::auth::EXPORTER_LABEL;

use super::AskError;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `https` or `http`.
    pub secure: bool,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Reads `https://host:port` or, where allowed, `http://host:port`.
    ///
    /// # Errors
    /// [`AskError::BadUrl`].
    pub fn parse(url: &str, plain_allowed: bool) -> Result<Self, AskError> {
        let bad = |why| AskError::BadUrl { url: url.to_owned(), why };
        let uri: hyper::Uri = url.parse().map_err(|_| bad("not a URL"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if plain_allowed => false,
            Some("http") => return Err(bad("http would not prove who answers; use https")),
            _ => return Err(bad("it must begin with https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("nothing may follow the port"));
        }
        let authority = uri.authority().ok_or_else(|| bad("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold a user name or password"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        if host.is_empty() {
            return Err(bad("the host is missing"));
        }
        Ok(Self { secure, host, port })
    }

    fn unreachable(&self, source: std::io::Error) -> AskError {
        AskError::Unreachable { target: format!("{}:{}", self.host, self.port), source }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
    /// The exporter value of the TLS connection; `None` without TLS.
    pub channel: Option<[u8; 32]>,
}

impl Drop for Http {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http {
    /// Connects; with TLS, `name` is what is checked against the certificate where names are checked at all.
    ///
    /// # Errors
    /// [`AskError::Unreachable`], [`AskError::Http`], [`AskError::Tls`].
    pub async fn open(target: &Target, tls: Option<&Arc<ClientConfig>>) -> Result<Self, AskError> {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|e| target.unreachable(e))?;
        let host = format!("{}:{}", target.host, target.port);
        let Some(tls) = tls else {
            let (sender, conversation) = handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(async move { drop(conversation.await) });
            return Ok(Self { sender, driver, host, channel: None });
        };
        let name = ServerName::try_from(target.host.clone()).map_err(|_| AskError::BadUrl {
            url: target.host.clone(),
            why: "neither a name nor an address",
        })?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|e| target.unreachable(e))?;
        let channel = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None)?;
        let (sender, conversation) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { drop(conversation.await) });
        Ok(Self { sender, driver, host, channel: Some(channel) })
    }

    /// Posts `body` and takes at most `limit` bytes of answer. Any status but 200 is an error that carries the
    /// beginning of what was said.
    ///
    /// # Errors
    /// [`AskError::Http`], [`AskError::Refused`].
    pub async fn post(
        &mut self,
        who: &'static str,
        path: &'static str,
        headers: &[(&'static str, &str)],
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Bytes, AskError> {
        let refused = |status: StatusCode, text: &str| AskError::Refused {
            who,
            status: status.as_u16(),
            // One line, and not long: it comes from outside and goes to a log.
            text: text.chars().take_while(|c| !c.is_control()).take(200).collect(),
        };
        let mut request = Request::post(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(body))
            .map_err(|_| refused(StatusCode::BAD_REQUEST, "the request could not be formed"))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit)
            .collect()
            .await
            .map_err(|_| refused(status, "the answer broke off or is too long"))?
            .to_bytes();
        if status == StatusCode::OK {
            Ok(body)
        } else {
            Err(refused(status, &String::from_utf8_lossy(&body)))
        }
    }

    /// Can another request be sent on it?
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

//! Asking `node-init witness serve`.

use std::sync::Arc;

use pair_core::record::Swap;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use witness_protocol::answer::ANSWER_MAX;
use witness_protocol::{Answer, Ask, Audience, PairKey, Request, Seen, Verdict};

use super::AskError;
use super::http::{Http, Target};
use super::pin;
use crate::witness::identity::Fingerprint;
use crate::witness::server::RECORD_PATH;

/// Room for a refusal in words.
const BODY_MAX: usize = if ANSWER_MAX > 1024 { ANSWER_MAX } else { 1024 };

/// A client of one witness for one pair. Keeps its connection from request to request.
#[derive(Debug)]
pub struct WitnessClient {
    target: Target,
    fingerprint: Fingerprint,
    key: Arc<PairKey>,
    tls: Arc<ClientConfig>,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    http: Http,
    audience: Audience,
    sequence: u64,
}

impl WitnessClient {
    /// For the witness at `url` (`https://host:port`) with this fingerprint.
    ///
    /// # Errors
    /// [`AskError::BadUrl`], [`AskError::Tls`].
    pub fn new(url: &str, fingerprint: Fingerprint, key: Arc<PairKey>) -> Result<Self, AskError> {
        Self::with_tls(url, fingerprint, key, pin::config(fingerprint)?)
    }

    /// The same with a TLS configuration that several clients share (made by [`pin::config`]).
    ///
    /// # Errors
    /// [`AskError::BadUrl`].
    pub fn with_tls(
        url: &str,
        fingerprint: Fingerprint,
        key: Arc<PairKey>,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, AskError> {
        Ok(Self { target: Target::parse(url, false)?, fingerprint, key, tls, session: None })
    }

    /// See [`Keeper::read`](super::Keeper::read); without a time limit.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn read(&mut self, seen: Option<Seen>) -> Result<Verdict, AskError> {
        match self.ask(Ask::Read { seen }).await? {
            current @ Verdict::Current(_) => Ok(current),
            Verdict::Changed(_) | Verdict::Refused(_) => Err(AskError::NotOurs),
        }
    }

    /// See [`Keeper::claim`](super::Keeper::claim); without a time limit.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn claim(&mut self, swap: &Swap) -> Result<Verdict, AskError> {
        match self.ask(Ask::Swap(*swap)).await? {
            Verdict::Current(_) => Err(AskError::NotOurs),
            verdict => Ok(verdict),
        }
    }

    /// One request. A kept connection that the witness has closed meanwhile is replaced once. That may say the
    /// same swap twice, which is harmless: its epoch is used up by the first.
    async fn ask(&mut self, ask: Ask) -> Result<Verdict, AskError> {
        if let Some(mut session) = self.session.take() {
            if session.http.is_open() {
                match self.say(&mut session, ask).await {
                    Err(AskError::Http(_)) => {}
                    result => return self.keep(session, result),
                }
            }
        }
        let http = Http::open(&self.target, Some(&self.tls)).await?;
        let channel = http.channel.ok_or(AskError::NotOurs)?;
        let audience = Audience { witness: self.fingerprint.0, channel };
        let mut session = Session { http, audience, sequence: 0 };
        let result = self.say(&mut session, ask).await;
        self.keep(session, result)
    }

    /// A connection on which something went wrong is not used again. A refusal in good order (too many
    /// requests, the disk) is nothing wrong with the connection.
    fn keep(&mut self, session: Session, result: Result<Verdict, AskError>) -> Result<Verdict, AskError> {
        if matches!(result, Ok(_) | Err(AskError::Refused { .. })) {
            self.session = Some(session);
        }
        result
    }

    async fn say(&self, session: &mut Session, ask: Ask) -> Result<Verdict, AskError> {
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| AskError::NoRandomness)?;
        session.sequence += 1;
        let request = Request { pair: self.key.id(), id, sequence: session.sequence, ask };
        let sealed = request.seal(&self.key, &session.audience);
        let headers = [("content-type", "application/octet-stream")];
        let body = session.http.post("the witness", RECORD_PATH, &headers, sealed, BODY_MAX).await?;
        let answer = Answer::decode(&body)?;
        if answer.id == id { Ok(answer.verdict) } else { Err(AskError::NotOurs) }
    }
}

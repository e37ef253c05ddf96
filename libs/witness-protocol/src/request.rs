//! What a node says.
//!
//! ```text
//! "EPW" version  pair[32] id[16] sequence[8]  ask  signature[64]
//! ask   0                                     read
//!       1 lineage[16] epoch[8]                read, with what the node remembers
//!       2 swap
//! ```

use pair_core::record::{Epoch, Lineage, Record, Swap};
use thiserror::Error;

use crate::auth::{Audience, AuthError, PairId, PairKey, SIGNATURE_LEN};
use crate::codec::{put_swap, take_swap};
use crate::wire::{Malformed, Reader, begin, check_begin};

/// No request is longer than this; the witness reads no more of one.
pub const REQUEST_MAX: usize = 256;

/// The latest record that a node remembers. A witness that stands before it has lost history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The history it belongs to.
    pub lineage: Lineage,
    /// Its epoch.
    pub epoch: Epoch,
}

impl Seen {
    /// Is `record` an earlier one of the same history? Then the witness that shows it went back in time.
    #[must_use]
    pub fn is_after(&self, record: &Record) -> bool {
        self.lineage == record.lineage && self.epoch > record.epoch
    }
}

/// What a node wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// The record as it stands. Never a grant.
    Read {
        /// What the node remembers, so that the witness notices when it was rolled back.
        seen: Option<Seen>,
    },
    /// A change by compare-and-swap.
    Swap(Swap),
}

impl Ask {
    /// What the sender shows that it has seen: the witness compares it with its own record.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        match self {
            Ask::Read { seen } => *seen,
            Ask::Swap(swap) => Some(Seen { lineage: swap.lineage, epoch: swap.expect }),
        }
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks.
    pub pair: PairId,
    /// Chosen at random by the sender; comes back in the answer, and the witness stores it with the change.
    pub id: [u8; 16],
    /// Rises with each request on one connection, beginning above 0.
    pub sequence: u64,
    /// What is asked.
    pub ask: Ask,
}

/// A request whose signature was checked. There is no other way to make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened(Request);

impl Opened {
    /// The request.
    #[must_use]
    pub fn request(&self) -> &Request {
        &self.0
    }
}

/// Why bytes were not taken as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejected {
    /// Not a request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A request, but not of this pair to this witness on this connection.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl Request {
    /// The signed part.
    fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(REQUEST_MAX);
        begin(&mut out);
        out.extend_from_slice(&self.pair.0);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        match &self.ask {
            Ask::Read { seen: None } => out.push(0),
            Ask::Read { seen: Some(seen) } => {
                out.push(1);
                out.extend_from_slice(&seen.lineage.0);
                out.extend_from_slice(&seen.epoch.0.to_be_bytes());
            }
            Ask::Swap(swap) => {
                out.push(2);
                put_swap(&mut out, swap);
            }
        }
        out
    }

    /// Encodes and signs the request for one connection to one witness.
    #[must_use]
    pub fn seal(&self, key: &PairKey, audience: &Audience) -> Vec<u8> {
        let mut out = self.body();
        let signature = key.sign_request(audience, &out);
        out.extend_from_slice(&signature);
        out
    }

    /// Parses without checking the signature: the parser of outside input. Returns the request, the signed
    /// bytes and the signature.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<(Request, &[u8], [u8; SIGNATURE_LEN]), Malformed> {
        if bytes.len() > REQUEST_MAX {
            return Err(Malformed::TooLong(bytes.len()));
        }
        let (body, signature) =
            bytes.split_last_chunk::<SIGNATURE_LEN>().ok_or(Malformed::Short("signature"))?;
        let mut reader = Reader::new(body, REQUEST_MAX)?;
        check_begin(&mut reader)?;
        let pair = PairId(reader.array("pair")?);
        let id = reader.array("request id")?;
        let sequence = reader.u64("sequence")?;
        let ask = match reader.byte("ask")? {
            0 => Ask::Read { seen: None },
            1 => Ask::Read {
                seen: Some(Seen {
                    lineage: Lineage(reader.array("lineage")?),
                    epoch: Epoch(reader.u64("epoch")?),
                }),
            },
            2 => Ask::Swap(take_swap(&mut reader)?),
            _ => return Err(Malformed::Undefined("ask")),
        };
        reader.end()?;
        Ok((Request { pair, id, sequence, ask }, body, *signature))
    }

    /// Parses and checks the signature. The sequence is checked by [`Channel`](crate::auth::Channel).
    ///
    /// `known` tells whether a pair is enrolled, and is asked first: a stranger costs no signature check.
    ///
    /// # Errors
    /// [`Rejected`]; a pair that is not known is a bad signature, so that nobody can list who is enrolled.
    pub fn open(
        bytes: &[u8],
        audience: &Audience,
        known: impl FnOnce(&PairId) -> bool,
    ) -> Result<Opened, Rejected> {
        let (request, body, signature) = Self::parse(bytes)?;
        if !known(&request.pair) {
            return Err(AuthError::BadSignature.into());
        }
        request.pair.check_request(audience, body, &signature)?;
        Ok(Opened(request))
    }
}

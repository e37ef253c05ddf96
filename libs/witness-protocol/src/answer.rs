//! What the witness says. Its truth rests on the pinned key of the connection it came over.
//!
//! ```text
//! "EPW" version  id[16]  0 record | 1 record | 2 refusal      current, changed, refused
//! ```

use pair_core::record::{Record, Refusal};

use crate::codec::{put_record, put_refusal, take_record, take_refusal};
use crate::wire::{Malformed, Reader, begin, check_begin};

/// No answer is longer than this; a node reads no more of one.
pub const ANSWER_MAX: usize = 128;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The record, as asked for. Never a grant.
    Current(Record),
    /// The swap happened and is on the witness's disk; this is the new record.
    Changed(Record),
    /// The swap did not happen.
    Refused(Refusal),
}

impl Verdict {
    /// The record as it stood when the witness answered.
    #[must_use]
    pub fn record(&self) -> Record {
        match self {
            Verdict::Current(record) | Verdict::Changed(record) => *record,
            Verdict::Refused(refusal) => refusal.current(),
        }
    }
}

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The id of the request.
    pub id: [u8; 16],
    /// What came of it.
    pub verdict: Verdict,
}

impl Answer {
    /// The answer as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ANSWER_MAX);
        begin(&mut out);
        out.extend_from_slice(&self.id);
        match &self.verdict {
            Verdict::Current(record) => {
                out.push(0);
                put_record(&mut out, record);
            }
            Verdict::Changed(record) => {
                out.push(1);
                put_record(&mut out, record);
            }
            Verdict::Refused(refusal) => {
                out.push(2);
                put_refusal(&mut out, refusal);
            }
        }
        out
    }

    /// The inverse of [`Answer::encode`].
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Answer, Malformed> {
        let mut reader = Reader::new(bytes, ANSWER_MAX)?;
        check_begin(&mut reader)?;
        let id = reader.array("request id")?;
        let verdict = match reader.byte("verdict")? {
            0 => Verdict::Current(take_record(&mut reader)?),
            1 => Verdict::Changed(take_record(&mut reader)?),
            2 => Verdict::Refused(take_refusal(&mut reader)?),
            _ => return Err(Malformed::Undefined("verdict")),
        };
        reader.end()?;
        Ok(Answer { id, verdict })
    }
}

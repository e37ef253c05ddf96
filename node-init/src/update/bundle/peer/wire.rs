//! Questions and answers of [`super`]: questions in JSON, blocks as they are.

use edgepair_bundle::BlockId;
use edgepair_bundle::manifest::{BLOCK, PayloadName};
use serde::{Deserialize, Serialize};

/// Most blocks of one question. With runs of one block each, its JSON stays within a frame.
pub const BLOCKS_MAX: usize = 1024;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Manifest, signatures and index, as they stand in the bundle.
    Head {
        /// Which bundle.
        bundle: String,
    },
    /// Blocks, rising. Each is answered; the first that is not there ends the answer.
    Blocks {
        /// Of which bundle.
        bundle: String,
        /// Of which payload, its word in the manifest.
        payload: String,
        /// First number and how many, as often as needed.
        runs: Vec<(u32, u32)>,
    },
}

/// The answer to the question for a head, before the head itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It has so many bytes, and follows.
    Size(u64),
    /// It is not given, for this reason.
    No(String),
}

impl Question {
    /// For blocks of one payload; `None` for none, too many, or of several.
    pub fn blocks(bundle: &str, ids: &[BlockId]) -> Option<Self> {
        let payload = ids.first()?.payload;
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for id in ids {
            match runs.last_mut() {
                Some((first, count)) if *first + *count == id.number => *count += 1,
                _ => runs.push((id.number, 1)),
            }
        }
        let one = ids.len() <= BLOCKS_MAX && ids.iter().all(|id| id.payload == payload);
        one.then(|| Self::Blocks { bundle: bundle.to_owned(), payload: payload.word().to_owned(), runs })
    }

    /// The blocks that are asked for; `None` when that is no question that a node asks.
    pub fn ids(payload: &str, runs: &[(u32, u32)]) -> Option<Vec<BlockId>> {
        let payload = PayloadName::ALL.into_iter().find(|name| name.word() == payload)?;
        let mut ids = Vec::new();
        for (first, count) in runs {
            let end = first.checked_add(*count)?;
            if ids.len() + *count as usize > BLOCKS_MAX {
                return None;
            }
            ids.extend((*first..end).map(|number| BlockId { payload, number }));
        }
        Some(ids)
    }

    /// As bytes of a frame.
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with text keys: it cannot fail, and an empty frame is refused by the line.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the bytes of a frame.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Reply {
    /// As bytes of a frame.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the bytes of a frame.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What stands before a block.
const THERE: u8 = 1;
/// The answer when a block is not there.
pub const NOT_THERE: &[u8] = &[0];

/// The answer with a block.
pub fn answer(block: &[u8]) -> Vec<u8> {
    [&[THERE], block].concat()
}

/// The block in an answer; `None` when it is not there.
pub fn block(answer: &[u8]) -> Option<&[u8]> {
    answer
        .split_first()
        .filter(|(mark, block)| **mark == THERE && block.len() <= BLOCK)
        .map(|(_, block)| block)
}

#[cfg(test)]
mod tests {
    use super::super::line::FRAME;
    use super::*;
    use proptest::prelude::*;

    fn ids(numbers: impl IntoIterator<Item = u32>) -> Vec<BlockId> {
        numbers.into_iter().map(|number| BlockId { payload: PayloadName::Verity, number }).collect()
    }

    #[test]
    fn questions_come_back_and_fit_a_frame() {
        let scattered = ids((0..BLOCKS_MAX as u32).map(|number| u32::MAX - 1 - 3 * number).rev());
        for wanted in [ids([3, 4, 5, 9]), scattered] {
            let question = Question::blocks(&"a".repeat(64), &wanted).unwrap();
            let bytes = question.encode();
            assert!(bytes.len() <= FRAME, "{}", bytes.len());
            let Some(Question::Blocks { payload, runs, .. }) = Question::decode(&bytes) else { panic!() };
            assert_eq!(Question::ids(&payload, &runs).unwrap(), wanted);
        }
        assert_eq!(Question::blocks("a", &[]), None);
        assert_eq!(Question::blocks("a", &ids(0..BLOCKS_MAX as u32 + 1)), None);
    }

    #[test]
    fn what_no_node_asks_is_no_question() {
        assert_eq!(Question::ids("boot", &[(0, 1)]), None);
        assert_eq!(Question::ids("root", &[(u32::MAX, 1)]), None, "behind the last number");
        assert_eq!(Question::ids("root", &[(0, u32::MAX)]), None, "too many");
        assert_eq!(block(&answer(b"x")), Some(&b"x"[..]));
        assert_eq!(block(NOT_THERE), None);
        assert_eq!(block(&[]), None);
        assert_eq!(block(&answer(&[0; BLOCK + 1])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, runs: Vec<(u32, u32)>) {
            let _ = (Question::decode(&bytes), Reply::decode(&bytes), block(&bytes));
            let _ = Question::ids("root", &runs);
        }
    }
}

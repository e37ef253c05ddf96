//! What the two agents say to each other, around the pair core's messages. JSON, one value in a frame.

use crate::agent::form::Formation;
use pair_core::message::Message;
use pair_core::record::{DiskId, Side};
use serde::{Deserialize, Serialize};

/// Version of this protocol. Another one is refused, with a message that says so.
pub const PROTOCOL: u32 = edgepair_layout::format::PAIR_PROTOCOL;

/// How a node introduces itself: first on every connection, and again when something of it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Names this run of its agent. What an earlier run has said is not acted on.
    pub run: u64,
    /// Which node of the seed. Two boxes that both claim one are found out here.
    pub side: Side,
    /// Its disk.
    pub disk: DiskId,
    /// Its disk carries metadata made just now: no data generation yet.
    pub just_created: bool,
    /// How far the pair's first forming is, as far as it knows, durably.
    pub formation: Formation,
    /// Hash of its seed.
    pub seed: String,
    /// Version of its image.
    pub version: String,
    /// A hardware watchdog is armed there.
    pub watchdog: bool,
    /// How its k3s is; absent without Kubernetes, and from versions that know nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k3s: Option<Box<crate::extension::decide::Node>>,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// How I am set up.
    Greeting(Greeting),
    /// A message of the pair core.
    Core(Message),
    /// How far an update is.
    Update(Box<crate::update::driver::said::Said>),
    /// The channel file that was seen last.
    Channel(crate::update::channel::kept::Word),
    /// Nothing new: only so that silence means something.
    Alive,
}

impl Said {
    /// As bytes of a frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with text keys: it cannot fail, and an empty frame is refused by the reader.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the bytes of a frame.
    ///
    /// # Errors
    /// For anything that is no known value: a message of a newer version, for example.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// The version of a greeting that is not understood. This one field keeps its place in every version, so that two
/// versions can tell people what is wrong instead of being silent to each other.
#[must_use]
pub fn protocol_of(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Frame {
        greeting: Lasting,
    }
    #[derive(Deserialize)]
    struct Lasting {
        protocol: u32,
    }
    serde_json::from_slice::<Frame>(bytes).ok().map(|frame| frame.greeting.protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn known() -> Greeting {
        Greeting {
            protocol: PROTOCOL,
            run: 1,
            side: Side::A,
            disk: DiskId([7; 16]),
            just_created: true,
            formation: Formation::default(),
            seed: "00".into(),
            version: "1".into(),
            watchdog: false,
            k3s: None,
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        let greeting = known();
        let word =
            crate::update::channel::kept::Word { name: "stable".into(), serial: 1, digest: "00".into() };
        for said in
            [Said::Channel(word), Said::Alive, Said::Core(Message::YourTurn), Said::Greeting(greeting)]
        {
            assert_eq!(Said::decode(&said.encode()).unwrap(), said);
        }
        // From a version that knows nothing of k3s, and from one that knows more.
        let old = Said::Greeting(Greeting { k3s: Some(Box::default()), ..known() }).encode();
        assert!(String::from_utf8_lossy(&old).contains("\"k3s\":{"));
        assert!(Said::decode(b"{\"sing\":1}").is_err());
        assert_eq!(protocol_of(&Said::Alive.encode()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Said::decode(&bytes);
        }
    }
}

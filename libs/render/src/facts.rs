//! What has to be known of the machine, and which of its cards is which link.

use edgepair_seed::{Mac, Member, Seed};

use crate::RenderError;

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Name the kernel gives it, `enp1s0`.
    pub name: String,
    /// Its permanent MAC address, where it is known.
    pub mac: Option<Mac>,
}

/// What has to be known of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// All wired cards, in the kernel's order.
    pub cards: Vec<Card>,
}

impl Facts {
    /// For the desk, where the machine is not at hand: cards with the seed's MAC addresses, named `eth0`, `eth1`, …
    #[must_use]
    pub fn assumed(seed: &Seed, member: &Member) -> Self {
        let (macs, replication) = wanted(seed, member);
        let separate = matches!(member, Member::Node(id) if seed.node(*id).replication_address.is_some())
            && seed.network.replication_vlan.is_none();
        let mut macs: Vec<Option<Mac>> = macs.into_iter().map(Some).collect();
        if macs.is_empty() {
            macs.push(None);
        }
        if replication.is_some() || separate {
            macs.push(replication);
        }
        let cards =
            macs.into_iter().enumerate().map(|(index, mac)| Card { name: format!("eth{index}"), mac });
        Self { cards: cards.collect() }
    }
}

/// Which card is which link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// Cards of the nodes' network: one, or all members of the bond.
    pub lan: Vec<Card>,
    /// Card of the replication link, when it has its own.
    pub replication: Option<Card>,
    /// What was guessed.
    pub notes: Vec<String>,
}

impl Links {
    /// Finds the cards by MAC address; a single card needs none.
    ///
    /// # Errors
    /// When a card that the seed names is not there and cannot be guessed.
    pub fn resolve(seed: &Seed, member: &Member, facts: &Facts) -> Result<Self, RenderError> {
        let (macs, replication_mac) = wanted(seed, member);
        let have = || facts.cards.iter().map(describe).collect::<Vec<_>>().join(", ");
        let by_mac = |mac: Mac| {
            let found = facts.cards.iter().find(|card| card.mac == Some(mac)).cloned();
            found.ok_or_else(|| RenderError::NoCard { what: mac.to_string(), have: have() })
        };
        let mut notes = Vec::new();
        let replication = replication_mac.map(by_mac).transpose()?;
        let others: Vec<&Card> =
            facts.cards.iter().filter(|card| replication.as_ref() != Some(card)).collect();
        let lan: Result<Vec<Card>, RenderError> = macs.iter().map(|mac| by_mac(*mac)).collect();
        let lan = match (lan, others.as_slice()) {
            (Ok(lan), _) if !lan.is_empty() => lan,
            // A replaced box with another card, or a seed without MAC addresses: a single card can only be the one.
            (_, [only]) => {
                notes.push(format!("{} is taken for the network card: it is the only one", describe(only)));
                vec![(*only).clone()]
            }
            (Err(error), _) => return Err(error),
            (Ok(_), [first, ..]) => {
                notes.push(format!(
                    "{} is taken for the network card: the seed names none; add mac to be sure",
                    describe(first)
                ));
                vec![(*first).clone()]
            }
            (Ok(_), []) => {
                return Err(RenderError::NoCard {
                    what: "the network card".to_owned(),
                    have: "none".to_owned(),
                });
            }
        };
        Ok(Self { lan, replication, notes })
    }
}

fn describe(card: &Card) -> String {
    match card.mac {
        Some(mac) => format!("{} ({mac})", card.name),
        None => card.name.clone(),
    }
}

/// MAC addresses that the seed names for a box: of its network, and of the replication link.
fn wanted(seed: &Seed, member: &Member) -> (Vec<Mac>, Option<Mac>) {
    match member {
        Member::Node(id) => (seed.node(*id).macs.clone(), seed.node(*id).replication_mac),
        Member::Worker(name) => {
            (seed.workers.get(name).map(|worker| worker.macs.clone()).unwrap_or_default(), None)
        }
    }
}

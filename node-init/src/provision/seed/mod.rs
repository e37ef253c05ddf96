//! Finding this box's seed: where it can be, what the box knows of itself, whether the seed is taken.
//!
//! [`choose`] is the flow: a seed that was found is checked, this box is found in it, and it is compared with the one
//! in force; at every one of these points it can be refused, and then the one in force stays.

pub mod cards;
pub mod decide;
pub mod source;

use edgepair_render::{Context, Facts};
use edgepair_seed::{BoxFacts, Difference, FoundBy, IdentityError, Input, Member, Seed, check, identify};

use crate::facts::Problem;
use crate::member::{Kept, Mac};
use decide::{Membership, Verdict, decide};
use source::Found;

/// What the box knows of itself.
#[derive(Debug, Clone, Default)]
pub struct Knows {
    /// Its wired cards.
    pub cards: Facts,
    /// Its cards as they were last seen.
    pub kept_cards: Option<Facts>,
    /// Its serial number.
    pub serial: Option<String>,
    /// `edgepair.node=` of the kernel command line.
    pub kernel_argument: Option<String>,
    /// Size of the disk the system is on, bytes.
    pub disk: Option<u64>,
    /// How far it is a member of a pair.
    pub membership: Option<Membership>,
    /// The storage was made for the pair of this name and secret.
    pub storage_of: Option<String>,
}

impl Knows {
    fn facts(&self, node: Option<&str>) -> BoxFacts {
        let macs: Vec<Mac> = self.cards.cards.iter().filter_map(|card| card.mac).collect();
        BoxFacts {
            kernel_argument: self.kernel_argument.clone(),
            node_file: node.map(str::to_owned),
            macs,
            serial: self.serial.clone(),
        }
    }

    fn membership(&self) -> Membership {
        // What is not known is taken to hold data.
        self.membership.unwrap_or(Membership::Formed)
    }
}

/// The seed in force and this box's place in it.
#[derive(Debug, Clone)]
pub struct Force {
    /// As it is kept.
    pub kept: Kept,
    /// Checked.
    pub seed: Seed,
    /// Which box this is.
    pub member: Member,
    /// Its cards, with which it is rendered.
    pub cards: Facts,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// What was chosen.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// The seed in force; `None` when the node waits for one, or must not act on the one it has.
    pub force: Option<Force>,
    /// It is new: how it differs from the one before; an empty difference for the first.
    pub taken: Option<Option<Difference>>,
    /// Why a seed was refused.
    pub refused: Option<Problem>,
    /// Why the kept seed cannot be used.
    pub unusable: Option<Problem>,
}

fn problem(what: impl Into<String>, lines: Vec<String>, fix: impl Into<String>) -> Problem {
    Problem { what: what.into(), fix: fix.into(), lines }
}

/// Pure: chooses between the kept seed and one that was found. `by_hand`: an operator named it.
pub fn choose(
    kept: Result<Option<Kept>, String>,
    found: Option<&Found>,
    knows: &Knows,
    by_hand: bool,
) -> Choice {
    let mut choice = Choice::default();
    let kept = kept.unwrap_or_else(|why| {
        let fix = "`node-init provision --apply FILE` with this pair's seed";
        choice.unusable = Some(problem(format!("the kept seed cannot be used: {why}"), Vec::new(), fix));
        None
    });
    let before = kept.and_then(|kept| match kept.check() {
        Ok(seed) => Some((kept, seed)),
        Err(error) => {
            let lines = error.to_string().lines().map(str::to_owned).collect();
            let fix = "`node-init provision --apply FILE` with a seed that this version takes";
            choice.unusable = Some(problem("the kept seed is refused by this version", lines, fix));
            None
        }
    });
    if let Some(found) = found {
        match take(before.as_ref(), found, knows, by_hand) {
            Ok(Some((force, difference))) => {
                choice.unusable = None;
                choice.force = Some(force);
                choice.taken = Some(difference);
                return choice;
            }
            Ok(None) => {}
            Err(mut refused) => {
                let stays = if before.is_some() { "; the last good one stays in force" } else { "" };
                refused.what = format!("the seed of {} is refused: {}{stays}", found.place, refused.what);
                choice.refused = Some(refused);
            }
        }
    }
    if let Some((kept, seed)) = before {
        match stay(kept, seed, knows) {
            Ok(force) => choice.force = Some(force),
            Err(problem) => choice.unusable = Some(problem),
        }
    }
    choice
}

/// The found seed in force; `None` when it is the kept one.
fn take(
    before: Option<&(Kept, Seed)>,
    found: &Found,
    knows: &Knows,
    by_hand: bool,
) -> Result<Option<(Force, Option<Difference>)>, Problem> {
    let input =
        Input { name: &found.name, text: &found.text, companions: &found.companions, disk: knows.disk };
    let (seed, report) = check(&input);
    let Some(seed) = seed else {
        let lines = report.render_short().lines().map(str::to_owned).collect();
        let count = report.errors().count();
        let fix = "correct it (`edgepair seed check` says the same on a desk) and put it back";
        return Err(problem(format!("it has {count} errors"), lines, fix));
    };
    let by_identity = |error: IdentityError| problem(error.to_string(), Vec::new(), "see above");
    let (member, by) = identify(&seed, &knows.facts(found.node.as_deref())).map_err(by_identity)?;
    let membership = knows.membership();
    if let Some((kept, _)) = before {
        if membership != Membership::None && kept.member != member.to_string() {
            return Err(problem(
                format!("it makes this box {member}, and this box has been {} until now", kept.member),
                Vec::new(),
                "put the card or stick into the box it is for; to change what this box is, install it anew",
            ));
        }
    }
    let own = by_hand || knows.storage_of.as_deref() == Some(&super::storage::pair_name(&seed));
    let difference = match decide(before.map(|(_, seed)| seed), &seed, membership, own) {
        Verdict::Same => match before {
            // The same seed that makes this box another one: only before it has storage, see above.
            Some((kept, _)) if kept.member != member.to_string() => Some(Difference::default()),
            _ => return Ok(None),
        },
        Verdict::First => None,
        Verdict::Changed(difference) => Some(difference),
        Verdict::Refused { why, lines, fix } => return Err(problem(why, lines, fix)),
    };
    let mut notes: Vec<String> = report.render_short().lines().map(str::to_owned).collect();
    notes.insert(0, format!("this box is {member} of {}: {}", seed.pair.name, found_by(by)));
    let cards = cards_of(&seed, &member, knows, &mut notes, false)?;
    let kept = Kept::new(&found.text, &found.companions, found.node.as_deref(), &member, &found.place);
    Ok(Some((Force { kept, seed, member, cards, notes }, difference)))
}

const fn found_by(by: FoundBy) -> &'static str {
    match by {
        FoundBy::KernelArgument => "the kernel command line says so",
        FoundBy::NodeFile => "the file `node` beside the seed says so",
        FoundBy::Mac => "it has that box's MAC address",
        FoundBy::Serial => "it has that box's serial number",
    }
}

/// The kept seed in force, unless the hardware is another box's.
fn stay(kept: Kept, seed: Seed, knows: &Knows) -> Result<Force, Problem> {
    let mut notes = Vec::new();
    let told = kept.node.clone().or_else(|| Some(kept.member.clone()));
    let member = match identify(&seed, &knows.facts(told.as_deref())) {
        Ok((member, _)) if member.to_string() == kept.member => member,
        Ok((member, _)) => {
            return Err(problem(
                format!(
                    "this box was {} until now, and is told to be {member}; it does nothing until that is settled",
                    kept.member
                ),
                Vec::new(),
                "take the kernel argument edgepair.node away, or install the box anew",
            ));
        }
        Err(error) => {
            return Err(problem(
                format!("{error}; it does nothing until that is settled"),
                Vec::new(),
                "if the disk is in the wrong box, put it into the right one; if a card was exchanged, correct its MAC \
                 address in the seed",
            ));
        }
    };
    let cards = cards_of(&seed, &member, knows, &mut notes, true)?;
    Ok(Force { kept, seed, member, cards, notes })
}

/// The cards to render with. A box that ran before goes on with the cards it had when one is missing: the network then
/// comes up as soon as the card does.
fn cards_of(
    seed: &Seed,
    member: &Member,
    knows: &Knows,
    notes: &mut Vec<String>,
    ran_before: bool,
) -> Result<Facts, Problem> {
    match Context::new(seed, member, &knows.cards) {
        Ok(context) => {
            notes.extend(context.links.notes);
            Ok(knows.cards.clone())
        }
        Err(error) => {
            let kept = knows.kept_cards.as_ref().filter(|_| ran_before);
            let kept = kept.filter(|cards| Context::new(seed, member, cards).is_ok());
            if let Some(cards) = kept {
                notes.push(format!("{error}; going on with the cards of the last boot"));
                return Ok(cards.clone());
            }
            Err(problem(
                error.to_string(),
                Vec::new(),
                "plug the card, or correct its MAC address in the seed",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::tests_support::{SECRET, SEED, kept};
    use edgepair_render::Card;
    use edgepair_seed::Companions;

    fn found(text: &str) -> Found {
        Found {
            place: "partition SEED of vda2".into(),
            name: "seed.toml".into(),
            text: text.into(),
            companions: Companions::load(text, |_| Ok(SECRET.to_owned())),
            node: None,
        }
    }

    fn knows(mac: &str, membership: Membership) -> Knows {
        let card = Card { name: "enp1s0".into(), mac: crate::member::mac(mac) };
        Knows { cards: Facts { cards: vec![card] }, membership: Some(membership), ..Knows::default() }
    }

    const A: &str = "52:54:00:00:00:01";
    const B: &str = "52:54:00:00:00:02";

    #[test]
    fn the_first_seed_is_taken_and_kept_with_its_member() {
        let choice = choose(Ok(None), Some(&found(SEED)), &knows(A, Membership::None), false);
        let force = choice.force.unwrap();
        assert_eq!((force.member.to_string().as_str(), force.kept.member.as_str()), ("a", "a"));
        assert!(matches!(choice.taken, Some(None)) && choice.refused.is_none());
        assert!(force.notes[0].contains("MAC address"), "{:?}", force.notes);
    }

    #[test]
    fn a_bad_seed_is_refused_whole_with_every_finding_and_the_last_good_one_stays() {
        let bad =
            SEED.replace("192.0.2.60/24", "192.0.2.300/24").replace("mode = \"loop\"", "mode = \"lop\"");
        let choice = choose(Ok(Some(kept(SEED))), Some(&found(&bad)), &knows(B, Membership::Formed), false);
        assert_eq!(choice.force.unwrap().member.to_string(), "b");
        let refused = choice.refused.unwrap();
        assert!(
            refused.what.contains("2 errors") && refused.what.contains("stays in force"),
            "{}",
            refused.what
        );
        assert!(refused.lines.iter().any(|line| line.starts_with("seed.toml:10:")), "{:?}", refused.lines);
        assert!(refused.lines.iter().any(|line| line.contains("storage.mode")), "{:?}", refused.lines);
        assert!(choice.taken.is_none());
        let choice = choose(Ok(None), Some(&found(&bad)), &knows(B, Membership::None), false);
        assert!(choice.force.is_none() && choice.refused.is_some());
    }

    #[test]
    fn hardware_of_the_other_box_stops_a_box_that_was_told_otherwise() {
        // The kept seed says b; the card is a's: this is a's box with b's disk.
        let choice = choose(Ok(Some(kept(SEED))), None, &knows(A, Membership::Formed), false);
        assert!(choice.force.is_none());
        assert!(choice.unusable.unwrap().what.contains("does nothing"));
        // A card that nobody named is only an exchanged card.
        let choice =
            choose(Ok(Some(kept(SEED))), None, &knows("52:54:00:00:00:09", Membership::Formed), false);
        assert_eq!(choice.force.unwrap().member.to_string(), "b");
    }

    #[test]
    fn a_box_with_storage_does_not_become_the_other_one() {
        let as_a = Found { node: Some("a".into()), ..found(SEED) };
        let unnamed = knows("52:54:00:00:00:09", Membership::Prepared);
        let choice = choose(Ok(Some(kept(SEED))), Some(&as_a), &unnamed, false);
        assert_eq!(choice.force.unwrap().member.to_string(), "b");
        assert!(choice.refused.unwrap().what.contains("has been b until now"));
        let fresh = knows("52:54:00:00:00:09", Membership::None);
        let choice = choose(Ok(Some(kept(SEED))), Some(&as_a), &fresh, false);
        assert_eq!(choice.force.unwrap().member.to_string(), "a");
    }

    #[test]
    fn a_card_that_is_missing_does_not_stop_a_box_that_ran_before() {
        let gone = Knows {
            cards: Facts { cards: vec![] },
            kept_cards: Some(knows(B, Membership::None).cards),
            ..knows(B, Membership::Formed)
        };
        let choice = choose(Ok(Some(kept(SEED))), None, &gone, false);
        let force = choice.force.unwrap();
        assert!(force.notes.iter().any(|note| note.contains("cards of the last boot")), "{:?}", force.notes);
        assert_eq!(force.cards.cards.len(), 1);
        let as_b = Found { node: Some("b".into()), ..found(SEED) };
        let never = Knows { kept_cards: None, membership: Some(Membership::None), ..gone };
        let choice = choose(Ok(None), Some(&as_b), &never, false);
        assert!(choice.force.is_none() && choice.refused.unwrap().what.contains("no such card"));
    }

    #[test]
    fn a_box_that_is_not_in_the_seed_waits() {
        let choice =
            choose(Ok(None), Some(&found(SEED)), &knows("52:54:00:00:00:09", Membership::None), false);
        assert!(choice.force.is_none());
        assert!(choice.refused.unwrap().what.contains("not in the seed"));
    }

    #[test]
    fn a_lost_seed_is_replaced_by_the_one_the_storage_was_made_for() {
        let lost = Err("it is damaged".to_owned());
        let other = knows(B, Membership::Formed);
        let choice = choose(lost.clone(), Some(&found(SEED)), &other, false);
        assert!(choice.force.is_none() && choice.unusable.is_some() && choice.refused.is_some());
        let own = Knows { storage_of: Some("site-042 (c22e2e93)".into()), ..other.clone() };
        let choice = choose(lost.clone(), Some(&found(SEED)), &own, false);
        assert!(choice.force.is_some() && choice.unusable.is_none());
        assert!(choose(lost, Some(&found(SEED)), &other, true).force.is_some(), "by hand");
    }
}

//! Pure: whether a seed that was found is taken.

use edgepair_seed::{Difference, Seed, table::Change};

/// How far this box has become a member of its pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It has no storage yet: any seed may follow.
    None,
    /// It has storage that never held data.
    Prepared,
    /// It is, or was, half of a formed pair.
    Formed,
}

/// What happens to a seed that was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is the one in force.
    Same,
    /// It is the first.
    First,
    /// It takes the place of the one in force.
    Changed(Difference),
    /// It is refused; the one in force stays.
    Refused {
        /// Why.
        why: String,
        /// The changes that this box cannot make by itself.
        lines: Vec<String>,
        /// What to do.
        fix: String,
    },
}

/// Decides. `kept` is the seed in force; `own` says whether the storage was made for the pair of the seed that was
/// found, or an operator named the file.
pub fn decide(kept: Option<&Seed>, found: &Seed, membership: Membership, own: bool) -> Verdict {
    let Some(kept) = kept else {
        return match membership {
            Membership::Formed if !own => Verdict::Refused {
                why: "this box holds a pair's data, and its own seed is lost".to_owned(),
                lines: Vec::new(),
                fix: "`node-init provision --apply FILE` with the seed of that pair, as its operator has it"
                    .to_owned(),
            },
            Membership::None | Membership::Prepared | Membership::Formed => Verdict::First,
        };
    };
    let difference = Difference::between(kept, found);
    if difference.is_empty() {
        return Verdict::Same;
    }
    let foreign = kept.pair.name != found.pair.name || kept.pair.secret != found.pair.secret;
    match membership {
        Membership::None => Verdict::Changed(difference),
        Membership::Formed if foreign => Verdict::Refused {
            why: format!(
                "it is the seed of another pair ({}), and this box is a member of {}{}",
                found.pair.name,
                kept.pair.name,
                if kept.pair.name == found.pair.name { ", which has another secret" } else { "" }
            ),
            lines: Vec::new(),
            fix: "put the stick or card into the box it is for; to give this box to another pair, install it anew".to_owned(),
        },
        Membership::Formed => refuse_above(
            difference,
            Change::Reboot,
            "it changes what both nodes must change together",
            "take these changes back; the rest of the seed can then be applied",
        ),
        Membership::Prepared => refuse_above(
            difference,
            Change::Pair,
            "it changes what the storage of this box was made for",
            "take these changes back, or install this box anew",
        ),
    }
}

/// Takes a difference unless it has a change above a class.
fn refuse_above(difference: Difference, most: Change, why: &str, fix: &str) -> Verdict {
    let above = |change: &&edgepair_seed::Changed| change.change > most;
    let lines: Vec<String> = difference
        .changes()
        .iter()
        .filter(above)
        .map(|changed| {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
            format!("{}: {} -> {}", changed.key, value(&changed.before), value(&changed.after))
        })
        .collect();
    if lines.is_empty() {
        return Verdict::Changed(difference);
    }
    Verdict::Refused { why: why.to_owned(), lines, fix: fix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Kept;
    use edgepair_seed::{Companions, Member};

    const SEED: &str = include_str!("../../../../libs/seed/tests/seeds/minimal.toml");

    fn seed(text: &str, secret: &str) -> Seed {
        let companions = Companions::load(text, |_| Ok(secret.to_owned()));
        Kept::new(text, &companions, None, &Member::parse("a").unwrap(), "").check().unwrap()
    }

    const SECRET: &str = "qJ4v9TzXn2Lr8sWc5Yb1Kd7H";

    #[test]
    fn what_is_taken_depends_on_what_could_be_lost() {
        use Membership::{Formed, None as Fresh, Prepared};
        let kept = seed(SEED, SECRET);
        let edit = |from: &str, to: &str| {
            assert!(SEED.contains(from), "{from}");
            seed(&SEED.replace(from, to), SECRET)
        };
        let comment = edit("schema = 1", "# a comment\nschema = 1");
        let dns = edit("dns = [\"192.0.2.1\"]", "dns = [\"192.0.2.2\"]");
        let address = edit("virtual_ip = \"192.0.2.50/24\"", "virtual_ip = \"192.0.2.51/24\"");
        let size = edit("size = \"8GiB\"", "size = \"16GiB\"");
        let pair = edit("name = \"site-042\"", "name = \"site-043\"");
        let secret = seed(SEED, "anotherSecret0123456789abc");
        let word = |found: &Seed, membership| match decide(Some(&kept), found, membership, true) {
            Verdict::Same => "same",
            Verdict::First => "first",
            Verdict::Changed(_) => "changed",
            Verdict::Refused { .. } => "refused",
        };
        for (found, fresh, prepared, formed) in [
            (&comment, "same", "same", "same"),
            (&dns, "changed", "changed", "changed"),
            (&address, "changed", "changed", "refused"),
            (&size, "changed", "refused", "refused"),
            (&pair, "changed", "changed", "refused"),
            (&secret, "changed", "changed", "refused"),
        ] {
            let seen = [word(found, Fresh), word(found, Prepared), word(found, Formed)];
            assert_eq!(seen, [fresh, prepared, formed], "{}", found.pair.name);
        }
        assert_eq!(decide(None, &kept, Fresh, false), Verdict::First);
        assert_eq!(decide(None, &kept, Prepared, false), Verdict::First);
        assert_eq!(decide(None, &kept, Formed, true), Verdict::First);
        assert!(matches!(decide(None, &kept, Formed, false), Verdict::Refused { .. }));
    }

    #[test]
    fn a_refusal_names_the_changes() {
        let kept = seed(SEED, SECRET);
        let found = seed(&SEED.replace("192.0.2.50/24", "192.0.2.51/24"), SECRET);
        let Verdict::Refused { lines, .. } = decide(Some(&kept), &found, Membership::Formed, true) else {
            panic!("taken")
        };
        assert_eq!(lines, ["pair.virtual_ip: 192.0.2.50/24 -> 192.0.2.51/24"]);
        let other = seed(SEED, "anotherSecret0123456789abc");
        let Verdict::Refused { why, .. } = decide(Some(&kept), &other, Membership::Formed, true) else {
            panic!("taken")
        };
        assert!(why.contains("another secret") && !why.contains("anotherSecret"), "{why}");
    }
}

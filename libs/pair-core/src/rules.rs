//! Which rules hold. A product has exactly one value, [`Rules::default`]: all of them.
//!
//! The model must be able to show that each rule is needed. So the places that a rule guards ask this value, and
//! only tests (feature `broken-variants`) can construct one that is broken.

/// All rules, or all but one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rules {
    broken: Option<Broken>,
}

/// One rule that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// The handler answers 5 ("unreachable") when the witness is silent.
    HandlerAnswers5,
    /// A claim takes the record, whatever it says.
    ClaimWithoutCompare,
    /// A cold-started node believes its `Consistent` disk.
    TrustConsistent,
    /// The handler answers from a read instead of a claim.
    HandlerReads,
    /// A power device grants although there is a witness.
    FenceBesideWitness,
    /// The staying node lets the other leave without a claim.
    LeaveWithoutClaim,
    /// An answer to an older request counts for the present one.
    AnyAnswer,
    /// A returning node connects without asking whether the peer is frozen.
    ConnectAtOnce,
    /// A promise of the peer counts for a later freeze too.
    PromiseForever,
    /// The record is widened to paired without asking the peer first.
    PairAtOnce,
    /// A disk with data connects although the record names another.
    TrustStrangers,
    /// A Primary that froze but was not asked yet says that it is not frozen.
    UnnamedFreeze,
    /// A won change counts although this node knows that it is undone.
    UndoneWin,
    /// A slot is blessed when this node's trial passed, before the decision.
    BlessEarly,
    /// A failed health check reboots without marking the slot bad.
    RetryFailed,
    /// An answer about an earlier plan counts for the present one.
    AnyPlan,
    /// A new plan writes while the write of an earlier one goes on.
    NoWaiting,
    /// A slot counts as kept when that was asked for.
    BlessOnce,
    /// What failed is tried again in the same instant.
    TryAtOnce,
    /// A switchover is asked for at every event while it lasts.
    SwitchAgain,
    /// A decided version is armed although this node has not written it.
    ArmUnwritten,
    /// What was told once counts as heard.
    TellOnce,
    /// The other node's decision stands for a trial here.
    DecidedIsTried,
    /// A node that may go on alone does so although the other one answers.
    SoloForever,
}

impl Rules {
    /// All rules hold: the same as the default, for constants.
    pub const ALL: Rules = Rules { broken: None };

    /// All rules but `broken`.
    #[cfg(any(test, feature = "broken-variants"))]
    pub fn without(broken: Broken) -> Rules {
        Rules { broken: Some(broken) }
    }

    pub(crate) fn lacks(self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

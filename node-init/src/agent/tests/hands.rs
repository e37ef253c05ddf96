//! Hands that open any bundle and never finish writing it.

use crate::update::boot::Standing;
use crate::update::bundle::Body;
use crate::update::driver::hands::{Hands, Job, Look, Offer, Work};
use crate::update::driver::said::Start;
use crate::update::health::{Finding, Seen};

pub struct Idle;

fn at_once<T: 'static>(value: T) -> Work<T> {
    Box::pin(async { Ok(value) })
}

impl Hands for Idle {
    fn look(&self) -> Work<Look> {
        at_once(Look { versions: vec![("1.0".to_owned(), Standing::Kept)], ..Look::default() })
    }

    fn open(&self, start: &Start, _body: Option<Body>) -> Work<Offer> {
        let version = start.file.clone();
        at_once(Offer { version, bundle: "any".to_owned(), trial_limit: 60 })
    }

    fn write(&self, _job: Job) -> Work<()> {
        Box::pin(std::future::pending())
    }

    fn arm(&self, _job: Job) -> Work<()> {
        at_once(())
    }

    fn prove(&self, _version: String) -> Work<()> {
        at_once(())
    }

    fn keep(&self, _version: String) -> Work<()> {
        at_once(())
    }

    fn reject(&self, _version: String) -> Work<()> {
        at_once(())
    }

    fn roll_back(&self) -> Work<String> {
        at_once("1.0".to_owned())
    }

    fn observe(&self, _seen: Seen, _solo: bool) -> Work<Vec<Finding>> {
        at_once(Vec::new())
    }

    fn reboot(&self) -> Work<()> {
        at_once(())
    }

    fn now(&self) -> u64 {
        0
    }
}

//! Token buckets: how much one pair, or one address, may ask of the witness. Pure: time is an input.
//!
//! An address pays for connections and for requests that are refused as not genuine: that is what a
//! stranger can cause. A pair pays for its own genuine requests. So thousands of pairs behind one address
//! do not slow each other down, and nobody can use up another's share without its key.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back per second.
    pub per_second: f64,
    /// Tokens that can be saved up.
    pub burst: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

/// Buckets by key, bounded in number.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    most: usize,
    buckets: HashMap<K, Bucket>,
    swept: Duration,
    /// For keys beyond `most`: they share one.
    rest: Bucket,
}

/// How often full buckets are thrown away.
const SWEEP: Duration = Duration::from_secs(10);

impl<K: Hash + Eq> Limiter<K> {
    /// A limiter that remembers at most `most` keys; strangers beyond them share one bucket.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        let rest = Bucket { tokens: rate.burst, at: Duration::ZERO };
        Self { rate, most, buckets: HashMap::new(), swept: Duration::ZERO, rest }
    }

    /// Takes one token of `key` at time `now` (since any fixed instant). `false`: there is none.
    pub fn take(&mut self, key: K, now: Duration) -> bool {
        let rate = self.rate;
        if now.saturating_sub(self.swept) >= SWEEP {
            self.swept = now;
            self.buckets.retain(|_, bucket| refill(rate, bucket, now) < rate.burst);
        }
        let full = self.buckets.len() >= self.most;
        let bucket = if full && !self.buckets.contains_key(&key) {
            &mut self.rest
        } else {
            self.buckets.entry(key).or_insert(Bucket { tokens: rate.burst, at: now })
        };
        if refill(rate, bucket, now) < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn refill(rate: Rate, bucket: &mut Bucket, now: Duration) -> f64 {
    let passed = now.saturating_sub(bucket.at).as_secs_f64();
    bucket.at = bucket.at.max(now);
    bucket.tokens = (bucket.tokens + passed * rate.per_second).min(rate.burst);
    bucket.tokens
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, whose rest is the sender's choice.
#[must_use]
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    fn seconds(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn a_burst_then_the_rate_and_each_key_for_itself() {
        let mut limiter = Limiter::new(RATE, 10);
        let taken = (0..5).filter(|_| limiter.take("a", seconds(1.0))).count();
        assert_eq!(taken, 3);
        assert!(limiter.take("b", seconds(1.0)));
        assert!(!limiter.take("a", seconds(1.4)));
        assert!(limiter.take("a", seconds(1.5)));
        assert!(!limiter.take("a", seconds(1.6)));
        // Time that goes backwards gives nothing.
        assert!(!limiter.take("a", seconds(0.1)));
    }

    #[test]
    fn memory_is_bounded_and_strangers_share() {
        let mut limiter = Limiter::new(RATE, 2);
        assert!(limiter.take(1, seconds(0.0)) && limiter.take(2, seconds(0.0)));
        let taken = (100..200).filter(|k| limiter.take(*k, seconds(0.0))).count();
        assert_eq!(taken, 3);
        assert_eq!(limiter.buckets.len(), 2);
        assert!(limiter.take(1, seconds(0.0)), "a known key keeps its own bucket");
        // Full buckets say nothing and are dropped.
        assert!(limiter.take(3, seconds(20.0)));
        assert_eq!(limiter.buckets.len(), 1);
    }

    #[test]
    fn ipv6_counts_by_network() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2:3:4:5:6"), key("2001:db8:1:2::1"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}

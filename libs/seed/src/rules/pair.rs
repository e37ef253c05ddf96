//! Name, secret and VRRP id.

use super::Rules;
use crate::secret::weakness;

impl Rules<'_> {
    pub(super) fn pair(&mut self) {
        let seed = self.seed;
        if !seed.has_table("pair") {
            return;
        }
        if let Some(name) = seed.text("pair.name").filter(|name| name.len() > 48) {
            let long = name.len();
            self.error(
                "name-too-long",
                "pair.name",
                format!("the name has {long} characters; host names are made of it and take at most 63"),
                "choose a name of at most 48 characters",
            );
        }
        self.one_secret("pair.secret", "pair.secret_file", true);
        let inline = seed.secret("pair.secret").cloned();
        let from_file = seed.text("pair.secret_file").and_then(|name| self.companions.trimmed(name));
        for (key, secret) in [("pair.secret", inline), ("pair.secret_file", from_file)] {
            if let Some(why) = secret.as_ref().and_then(|secret| weakness(secret.expose_secret())) {
                self.error("weak-secret", key, why, "make one with: edgepair seed new");
            }
        }
        if let Some(id @ (1 | 10 | 50 | 51 | 100)) = seed.integer("pair.vrrp_id") {
            self.warn(
                "vrrp-id",
                "pair.vrrp_id",
                format!("{id} is a number that many VRRP examples use; another device in this network may have it too"),
                "take the line out, and the number is derived from name and secret; or choose a rare one",
            );
        }
    }
}

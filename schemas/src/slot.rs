//! Slots: where an aggregate lives. Hash, seed and encoding are frozen; golden values below hold them.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::limits::SLOTS;
use crate::names::{ExternalId, Ref, Tenant, UserId};

/// "natter" in ASCII. Part of every slot ever computed: never changes.
const SEED: u64 = 0x6e61_7474_6572;

/// Ten bits that say which partition an aggregate's commands meet in: `slot % P`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    /// The slot in the low ten bits of `raw`.
    #[expect(clippy::cast_possible_truncation, reason = "ten bits are left")]
    pub const fn from_bits(raw: u64) -> Self {
        Self((raw & (SLOTS as u64 - 1)) as u16)
    }

    /// 0 to 1023.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The partition of this slot where there are `partitions` (a power of two).
    pub const fn partition(self, partitions: u16) -> u16 {
        self.0 % partitions
    }

    /// A user's slot.
    pub fn of_user(tenant: &Tenant, user: &UserId) -> Self {
        hash(1, &[tenant.as_str(), user.as_str()])
    }

    /// A direct chat's slot: the same for both users, whoever creates it.
    pub fn of_direct(tenant: &Tenant, one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        hash(2, &[tenant.as_str(), low.as_str(), high.as_str()])
    }

    /// The slot of a conversation that the host application named.
    pub fn of_external(tenant: &Tenant, external: &ExternalId) -> Self {
        hash(3, &[tenant.as_str(), external.as_str()])
    }

    /// The slot of any other conversation: a resend of its create meets the same partition.
    pub fn of_create(tenant: &Tenant, sender: &UserId, reference: &Ref) -> Self {
        hash(4, &[tenant.as_str(), sender.as_str(), reference.as_str()])
    }
}

/// A user's hash in the touch list of an outcome batch: full 64 bits of the hash that gives the slot.
pub fn user_hash(tenant: &Tenant, user: &UserId) -> u64 {
    hash64(1, &[tenant.as_str(), user.as_str()])
}

/// The top ten bits of the hash.
fn hash(domain: u8, parts: &[&str]) -> Slot {
    Slot::from_bits(hash64(domain, parts) >> 54)
}

/// XXH3-64 over the domain byte and each part, length-prefixed (u32 little endian), so that no two lists of parts
/// encode alike.
fn hash64(domain: u8, parts: &[&str]) -> u64 {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len() + 4).sum::<usize>());
    bytes.push(domain);
    for part in parts {
        let length = u32::try_from(part.len()).expect("names are at most 128 bytes");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    xxh3_64_with_seed(&bytes, SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        Tenant::try_from("demo").expect("valid")
    }

    fn user(name: &str) -> UserId {
        UserId::try_from(name).expect("valid")
    }

    /// Invariant: slots are frozen. A change here moves every conversation that exists.
    #[test]
    fn golden_slots() {
        let external = ExternalId::try_from("#ubuntu").expect("valid");
        let reference = Ref::try_from("r1").expect("valid");
        let slots = [
            Slot::of_user(&tenant(), &user("ada")).get(),
            Slot::of_direct(&tenant(), &user("ada"), &user("bob")).get(),
            Slot::of_external(&tenant(), &external).get(),
            Slot::of_create(&tenant(), &user("ada"), &reference).get(),
        ];
        assert_eq!(slots, [452, 607, 609, 717]);
        assert_eq!(user_hash(&tenant(), &user("ada")), 8_142_949_286_972_910_808);
    }

    #[test]
    fn a_direct_chat_has_one_slot_whoever_asks() {
        assert_eq!(
            Slot::of_direct(&tenant(), &user("ada"), &user("bob")),
            Slot::of_direct(&tenant(), &user("bob"), &user("ada"))
        );
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash64(1, &["ab", "c"]), hash64(1, &["a", "bc"]));
        assert_ne!(hash64(1, &["a", "b"]), hash64(2, &["a", "b"]));
    }
}

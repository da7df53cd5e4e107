//! The entries of an overlay, found by what they are about.
//!
//! Nearly every command asks for half a dozen facts of one conversation and one of its members: they lie together, found by
//! the conversation's number and then the member's name, instead of each somewhere else in one large table.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use natter_projections::facts::FactKey;
use natter_schemas::event::RefScope;
use natter_schemas::id::ConversationId;
use natter_schemas::names::{Tenant, UserId};

use super::entry::Entry;

/// All entries.
#[derive(Debug, Default)]
pub(super) struct Entries {
    rooms: HashMap<ConversationId, Room, RandomState>,
    /// What belongs to no conversation, or is too rare to have a place there.
    others: HashMap<FactKey, Entry, RandomState>,
}

/// What is known of a conversation.
#[derive(Debug, Default)]
struct Room {
    conversation: Option<Entry>,
    head: Option<Entry>,
    member_count: Option<Entry>,
    people: HashMap<UserId, Person, RandomState>,
}

/// What is known of a user in a conversation.
#[derive(Debug, Default)]
struct Person {
    member: Option<Entry>,
    cursor: Option<Entry>,
    /// Of the user of this tenant. One of the same name in another tenant, who can only be refused, is among the others.
    refs: Option<(Tenant, Entry)>,
}

impl Entries {
    pub(super) fn get(&self, key: &FactKey) -> Option<&Entry> {
        match key {
            FactKey::Conversation(id) => self.rooms.get(id)?.conversation.as_ref(),
            FactKey::Head(id) => self.rooms.get(id)?.head.as_ref(),
            FactKey::MemberCount(id) => self.rooms.get(id)?.member_count.as_ref(),
            FactKey::Member(id, user) => self.rooms.get(id)?.people.get(user)?.member.as_ref(),
            FactKey::Cursor(id, user) => self.rooms.get(id)?.people.get(user)?.cursor.as_ref(),
            FactKey::Refs(tenant, user, RefScope::Conversation(id)) => {
                let refs = self.rooms.get(id).and_then(|room| room.people.get(user)?.refs.as_ref());
                match refs {
                    Some((of, entry)) if of == tenant => Some(entry),
                    _ => self.others.get(key),
                }
            }
            _ => self.others.get(key),
        }
    }

    pub(super) fn get_mut(&mut self, key: &FactKey) -> Option<&mut Entry> {
        match key {
            FactKey::Conversation(id) => self.rooms.get_mut(id)?.conversation.as_mut(),
            FactKey::Head(id) => self.rooms.get_mut(id)?.head.as_mut(),
            FactKey::MemberCount(id) => self.rooms.get_mut(id)?.member_count.as_mut(),
            FactKey::Member(id, user) => self.rooms.get_mut(id)?.people.get_mut(user)?.member.as_mut(),
            FactKey::Cursor(id, user) => self.rooms.get_mut(id)?.people.get_mut(user)?.cursor.as_mut(),
            FactKey::Refs(tenant, user, RefScope::Conversation(id)) => {
                let refs = self.rooms.get_mut(id).and_then(|room| room.people.get_mut(user)?.refs.as_mut());
                match refs {
                    Some((of, entry)) if of == tenant => Some(entry),
                    _ => self.others.get_mut(key),
                }
            }
            _ => self.others.get_mut(key),
        }
    }

    /// Puts an entry in place of the one that is under `key`, if one is.
    pub(super) fn insert(&mut self, key: FactKey, entry: Entry) {
        match key {
            FactKey::Conversation(id) => self.room(id).conversation = Some(entry),
            FactKey::Head(id) => self.room(id).head = Some(entry),
            FactKey::MemberCount(id) => self.room(id).member_count = Some(entry),
            FactKey::Member(id, user) => self.person(id, user).member = Some(entry),
            FactKey::Cursor(id, user) => self.person(id, user).cursor = Some(entry),
            FactKey::Refs(tenant, user, RefScope::Conversation(id)) => {
                let key = FactKey::Refs(tenant.clone(), user.clone(), RefScope::Conversation(id));
                let elsewhere = self.others.contains_key(&key);
                match &mut self.person(id, user).refs {
                    place @ None if !elsewhere => *place = Some((tenant, entry)),
                    Some((of, place)) if *of == tenant => *place = entry,
                    _ => {
                        self.others.insert(key, entry);
                    }
                }
            }
            key => {
                self.others.insert(key, entry);
            }
        }
    }

    /// How many are `such`, which is asked once for each.
    pub(super) fn count(&self, mut such: impl FnMut(&Entry) -> bool) -> usize {
        let rooms = self.rooms.values().flat_map(|room| {
            let people = room.people.values().flat_map(|person| {
                let refs = person.refs.as_ref().map(|(_, entry)| entry);
                [person.member.as_ref(), person.cursor.as_ref(), refs]
            });
            [room.conversation.as_ref(), room.head.as_ref(), room.member_count.as_ref()].into_iter().chain(people)
        });
        rooms.flatten().chain(self.others.values()).filter(|entry| such(entry)).count()
    }

    /// Keeps those that are to be kept, which is asked once for each.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        self.rooms.retain(|_, room| {
            for place in [&mut room.conversation, &mut room.head, &mut room.member_count] {
                place.take_if(|entry| !keep(entry));
            }
            room.people.retain(|_, person| {
                for place in [&mut person.member, &mut person.cursor] {
                    place.take_if(|entry| !keep(entry));
                }
                person.refs.take_if(|(_, entry)| !keep(entry));
                person.member.is_some() || person.cursor.is_some() || person.refs.is_some()
            });
            let any = room.conversation.is_some() || room.head.is_some() || room.member_count.is_some();
            any || !room.people.is_empty()
        });
        self.others.retain(|_, entry| keep(entry));
    }

    /// All of them with their keys.
    pub(super) fn into_pairs(self) -> impl Iterator<Item = (FactKey, Entry)> {
        let rooms = self.rooms.into_iter().flat_map(|(id, room)| {
            let people = room.people.into_iter().flat_map(move |(user, person)| {
                let refs = person
                    .refs
                    .map(|(tenant, entry)| (FactKey::Refs(tenant, user.clone(), RefScope::Conversation(id)), entry));
                let member = person.member.map(|entry| (FactKey::Member(id, user.clone()), entry));
                let cursor = person.cursor.map(|entry| (FactKey::Cursor(id, user), entry));
                [member, cursor, refs]
            });
            let of_all = [
                room.conversation.map(|entry| (FactKey::Conversation(id), entry)),
                room.head.map(|entry| (FactKey::Head(id), entry)),
                room.member_count.map(|entry| (FactKey::MemberCount(id), entry)),
            ];
            of_all.into_iter().chain(people)
        });
        rooms.flatten().chain(self.others)
    }

    fn room(&mut self, id: ConversationId) -> &mut Room {
        self.rooms.entry(id).or_default()
    }

    fn person(&mut self, id: ConversationId, user: UserId) -> &mut Person {
        self.room(id).people.entry(user).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn keys() -> Vec<FactKey> {
        let (ada, bob) = (UserId::trusted("ada"), UserId::trusted("bob"));
        let (one, other) = (Tenant::trusted("one"), Tenant::trusted("other"));
        let rooms = [5, 6].map(ConversationId::from_raw);
        let mut keys = vec![FactKey::Policy(one.clone()), FactKey::direct(&one, &ada, &bob)];
        keys.extend([FactKey::NamedAt(one.clone(), ada.clone()), FactKey::NamedAt(other.clone(), ada.clone())]);
        for id in rooms {
            keys.extend([FactKey::Conversation(id), FactKey::Head(id), FactKey::MemberCount(id)]);
            keys.extend([FactKey::ConversationLine(id, [1; 16]), FactKey::Run(id)]);
            for user in [&ada, &bob] {
                keys.extend([FactKey::Member(id, user.clone()), FactKey::Cursor(id, user.clone())]);
                for tenant in [&one, &other] {
                    for scope in [RefScope::Conversation(id), RefScope::Created, RefScope::User] {
                        keys.push(FactKey::Refs(tenant.clone(), user.clone(), scope));
                    }
                }
            }
        }
        let distinct: HashSet<_> = keys.into_iter().collect();
        distinct.into_iter().collect()
    }

    /// `changed` tells them apart.
    fn filled(keys: &[FactKey]) -> Entries {
        let mut entries = Entries::default();
        for (at, key) in (1..).zip(keys) {
            assert!(entries.get(key).is_none() && entries.get_mut(key).is_none(), "{key:?}");
            entries.insert(key.clone(), Entry::known(None, at, 0));
        }
        entries
    }

    #[test]
    fn each_key_has_an_entry_of_its_own() {
        let keys = keys();
        let mut entries = filled(&keys);
        for (at, key) in (1..).zip(&keys) {
            assert_eq!(entries.get(key).map(|entry| entry.changed), Some(at), "{key:?}");
            assert_eq!(entries.get_mut(key).map(|entry| entry.changed), Some(at), "{key:?}");
        }
        assert_eq!(entries.count(|_| true), keys.len());
        let pairs: HashSet<_> = entries.into_pairs().map(|(key, entry)| (entry.changed, key)).collect();
        assert_eq!(pairs, (1..).zip(keys).collect());
    }

    #[test]
    fn what_is_not_kept_is_gone_and_can_come_again() {
        let keys = keys();
        for divisor in 1..6 {
            let mut entries = filled(&keys);
            entries.retain(|entry| !entry.changed.is_multiple_of(divisor));
            for (at, key) in (1..).zip(&keys) {
                let kept = !u64::is_multiple_of(at, divisor);
                assert_eq!(entries.get(key).is_some(), kept, "{key:?}");
                entries.insert(key.clone(), Entry::known(None, 100 + at, 0));
            }
            assert_eq!(entries.count(|_| true), keys.len());
            for (at, key) in (1..).zip(&keys) {
                assert_eq!(entries.get(key).map(|entry| entry.changed), Some(100 + at), "{key:?}");
            }
            entries.retain(|_| false);
            assert!(entries.rooms.is_empty() && entries.others.is_empty());
        }
    }
}

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

/// What is known of a user of one tenant in a conversation. A user of the same name in another tenant, who can only be
/// refused, is among the others.
#[derive(Debug)]
struct Person {
    tenant: Tenant,
    member: Option<Entry>,
    cursor: Option<Entry>,
    refs: Option<Entry>,
}

/// A fact of a person.
#[derive(Debug, Clone, Copy)]
enum Of {
    Member,
    Cursor,
    Refs,
}

/// Whose fact it is, where it is a person's.
const fn of_person(key: &FactKey) -> Option<(Of, &Tenant, ConversationId, &UserId)> {
    match key {
        FactKey::Member(tenant, id, user) => Some((Of::Member, tenant, *id, user)),
        FactKey::Cursor(tenant, id, user) => Some((Of::Cursor, tenant, *id, user)),
        FactKey::Refs(tenant, user, RefScope::Conversation(id)) => Some((Of::Refs, tenant, *id, user)),
        _ => None,
    }
}

impl Person {
    const fn nobody(tenant: Tenant) -> Self {
        Self { tenant, member: None, cursor: None, refs: None }
    }

    const fn fact(&self, of: Of) -> Option<&Entry> {
        match of {
            Of::Member => self.member.as_ref(),
            Of::Cursor => self.cursor.as_ref(),
            Of::Refs => self.refs.as_ref(),
        }
    }

    const fn place(&mut self, of: Of) -> &mut Option<Entry> {
        match of {
            Of::Member => &mut self.member,
            Of::Cursor => &mut self.cursor,
            Of::Refs => &mut self.refs,
        }
    }
}

impl Entries {
    pub(super) fn get(&self, key: &FactKey) -> Option<&Entry> {
        if let Some((of, tenant, id, user)) = of_person(key) {
            let person = self.rooms.get(&id).and_then(|room| room.people.get(user));
            let entry = person.filter(|person| person.tenant == *tenant).and_then(|person| person.fact(of));
            return entry.or_else(|| self.others.get(key));
        }
        match key {
            FactKey::Conversation(id) => self.rooms.get(id)?.conversation.as_ref(),
            FactKey::Head(id) => self.rooms.get(id)?.head.as_ref(),
            FactKey::MemberCount(id) => self.rooms.get(id)?.member_count.as_ref(),
            _ => self.others.get(key),
        }
    }

    pub(super) fn get_mut(&mut self, key: &FactKey) -> Option<&mut Entry> {
        if let Some((of, tenant, id, user)) = of_person(key) {
            let person = self.rooms.get_mut(&id).and_then(|room| room.people.get_mut(user));
            let entry = person.filter(|person| person.tenant == *tenant).and_then(|person| person.place(of).as_mut());
            return entry.or_else(|| self.others.get_mut(key));
        }
        match key {
            FactKey::Conversation(id) => self.rooms.get_mut(id)?.conversation.as_mut(),
            FactKey::Head(id) => self.rooms.get_mut(id)?.head.as_mut(),
            FactKey::MemberCount(id) => self.rooms.get_mut(id)?.member_count.as_mut(),
            _ => self.others.get_mut(key),
        }
    }

    /// Puts an entry in place of the one that is under `key`, if one is.
    pub(super) fn insert(&mut self, key: FactKey, entry: Entry) {
        if let Some((of, tenant, id, user)) = of_person(&key) {
            let elsewhere = self.others.contains_key(&key);
            let people = &mut self.rooms.entry(id).or_default().people;
            let person = people.entry(user.clone()).or_insert_with(|| Person::nobody(tenant.clone()));
            if person.tenant == *tenant && !elsewhere {
                *person.place(of) = Some(entry);
                return;
            }
        }
        match key {
            FactKey::Conversation(id) => self.room(id).conversation = Some(entry),
            FactKey::Head(id) => self.room(id).head = Some(entry),
            FactKey::MemberCount(id) => self.room(id).member_count = Some(entry),
            key => {
                self.others.insert(key, entry);
            }
        }
    }

    /// How many are `such`, which is asked once for each.
    pub(super) fn count(&self, mut such: impl FnMut(&Entry) -> bool) -> usize {
        let rooms = self.rooms.values().flat_map(|room| {
            let people = room
                .people
                .values()
                .flat_map(|person| [person.member.as_ref(), person.cursor.as_ref(), person.refs.as_ref()]);
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
                for place in [&mut person.member, &mut person.cursor, &mut person.refs] {
                    place.take_if(|entry| !keep(entry));
                }
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
            let people = room.people.into_iter().flat_map(move |(user, Person { tenant, member, cursor, refs })| {
                let scope = RefScope::Conversation(id);
                let refs = refs.map(|entry| (FactKey::Refs(tenant.clone(), user.clone(), scope), entry));
                let member = member.map(|entry| (FactKey::Member(tenant.clone(), id, user.clone()), entry));
                let cursor = cursor.map(|entry| (FactKey::Cursor(tenant, id, user), entry));
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
            keys.push(FactKey::ConversationLine(one.clone(), id, [1; 16]));
            keys.push(FactKey::Run(id));
            for user in [&ada, &bob] {
                for tenant in [&one, &other] {
                    keys.push(FactKey::Member(tenant.clone(), id, user.clone()));
                    keys.push(FactKey::Cursor(tenant.clone(), id, user.clone()));
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

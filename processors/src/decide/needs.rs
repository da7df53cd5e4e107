//! Which facts a decision will ask for, so that those of a whole batch are read at once.

use natter_projections::facts::FactKey;
use natter_schemas::command::{Address, Body, Command, Origin};
use natter_schemas::event::{RefScope, remembers_ref};
use natter_schemas::id::ConversationId;

use super::import::line_keys;

/// Appends to `keys` every fact that the decision about `command` may ask for.
///
/// Where an external id or a pair has to be resolved first, the keys behind it come only when `resolve` knows the
/// conversation: ask, load, and ask again until nothing new is needed.
pub fn needs(command: &Command, resolve: impl Fn(&FactKey) -> Option<ConversationId>, keys: &mut Vec<FactKey>) {
    keys.push(FactKey::Policy(command.tenant.clone()));
    let conversation = |key: FactKey, keys: &mut Vec<FactKey>| {
        let id = resolve(&key);
        keys.push(key);
        id
    };
    let named = match &command.body {
        Body::CreateDirect { peer } => conversation(FactKey::direct(&command.tenant, &command.sender, peer), keys),
        Body::CreateGroup { external: Some(external), .. } => {
            conversation(FactKey::External(command.tenant.clone(), external.clone()), keys)
        }
        Body::CreateGroup { external: None, .. } | Body::UpdateUser { .. } | Body::SetPolicy { .. } => None,
        Body::Add { conversation: address, .. }
        | Body::Join { conversation: address }
        | Body::Leave { conversation: address }
        | Body::Rename { conversation: address, .. }
        | Body::Read { conversation: address, .. }
        | Body::Send { conversation: address, .. } => match address {
            Address::Id(id) => Some(*id),
            Address::External(external) => {
                conversation(FactKey::External(command.tenant.clone(), external.clone()), keys)
            }
        },
    };
    if let Some(scope) = RefScope::of(&command.body, named).filter(|_| remembers_ref(command)) {
        keys.push(FactKey::Refs(command.tenant.clone(), command.sender.clone(), scope));
    }
    if let Origin::Import(line) = &command.origin {
        if let Body::UpdateUser { .. } = &command.body {
            keys.push(FactKey::NamedAt(command.tenant.clone(), command.sender.clone()));
        }
        keys.extend(line_keys(command, line, named));
    }
    if let Some(id) = named {
        of_conversation(command, id, keys);
    }
}

fn of_conversation(command: &Command, id: ConversationId, keys: &mut Vec<FactKey>) {
    keys.push(FactKey::Conversation(id));
    let tenant = &command.tenant;
    keys.push(FactKey::Member(tenant.clone(), id, command.sender.clone()));
    match &command.body {
        Body::Add { members, .. } => {
            keys.extend([FactKey::Head(id), FactKey::MemberCount(id)]);
            keys.extend(members.iter().map(|user| FactKey::Member(tenant.clone(), id, user.clone())));
        }
        Body::Join { .. } => keys.extend([FactKey::Head(id), FactKey::MemberCount(id)]),
        Body::Leave { .. } => keys.push(FactKey::MemberCount(id)),
        Body::Read { .. } => {
            keys.extend([FactKey::Head(id), FactKey::Cursor(tenant.clone(), id, command.sender.clone())]);
        }
        Body::Send { .. } => {
            keys.push(FactKey::Head(id));
            if matches!(command.origin, Origin::Import(_)) {
                keys.push(FactKey::Run(id));
            }
        }
        Body::CreateDirect { .. }
        | Body::CreateGroup { .. }
        | Body::Rename { .. }
        | Body::UpdateUser { .. }
        | Body::SetPolicy { .. } => {}
    }
}

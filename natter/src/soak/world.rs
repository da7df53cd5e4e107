//! Who chats with whom: users with their devices, direct chats, groups of several sizes, and a hall where people come
//! and go. Made from the seed. Pure.

use natter_schemas::random::Random;
use serde_json::{Value, json};

/// The public room that some users join and leave.
pub const HALL: &str = "hall";
/// Sizes of the groups.
const GROUPS: [usize; 7] = [3, 3, 4, 5, 5, 8, 13];
/// Every so-manieth user has two devices.
const SECOND_DEVICE: usize = 4;
/// Users who come to the hall and go.
const VISITORS: usize = 3;
/// Users in whole pairs.
const USERS: usize = 24;

/// Everybody and every room.
#[derive(Debug, Clone)]
pub struct World {
    /// Their names, by number.
    pub users: Vec<String>,
    /// Devices: each one's user.
    pub devices: Vec<usize>,
    /// Rooms that are made before the load begins: who makes it, and the command.
    pub rooms: Vec<(usize, Value)>,
}

impl World {
    /// Of this seed.
    pub fn new(random: &mut Random) -> Self {
        let users: Vec<String> = (0..USERS).map(|number| format!("u{number}")).collect();
        let second = (0..USERS).filter(|user| user % SECOND_DEVICE == 0 && !is_visitor(*user));
        let devices = (0..USERS).chain(second).collect();
        let mut rooms = Vec::new();
        for pair in (0..USERS).step_by(2) {
            let members = [users[pair + 1].clone()];
            rooms.push((pair, json!({ "cmd": "conversation.create", "kind": "direct", "members": members })));
        }
        for size in GROUPS {
            let mut chosen: Vec<usize> = (0..USERS).collect();
            for at in 0..size {
                let other = at + usize::try_from(random.below((USERS - at) as u64)).unwrap_or(0);
                chosen.swap(at, other);
            }
            let members: Vec<&String> = chosen[1..size].iter().map(|user| &users[*user]).collect();
            let name = format!("group of {size}");
            rooms.push((
                chosen[0],
                json!({ "cmd": "conversation.create", "kind": "group", "name": name, "members": members }),
            ));
        }
        let hall = json!({
            "cmd": "conversation.create", "kind": "group", "visibility": "public", "external": HALL, "members": [users[1]],
        });
        rooms.push((0, hall));
        Self { users, devices, rooms }
    }
}

/// Whether this user comes to the hall and goes.
pub const fn is_visitor(user: usize) -> bool {
    user >= USERS - VISITORS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_others_and_each_once() {
        let world = World::new(&mut Random::seeded(3));
        assert!(world.devices.len() > world.users.len());
        for (maker, room) in &world.rooms {
            let mut names: Vec<&str> =
                room["members"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            names.push(&world.users[*maker]);
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{room}");
        }
        assert!(!world.devices[world.users.len()..].iter().any(|user| is_visitor(*user)), "a visitor has one device");
    }
}

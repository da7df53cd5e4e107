//! Redis's users: one for each role, with the commands and keys that its scripts use and no other.
//!
//! A script's commands are checked as if its caller had sent them, so these are the commands of the scripts. A user's key pattern is by kind of view (the letter
//! behind the generation); it is no parser, so a user id that looks like a key may let a role see a key of that user's which it has no use for.

use std::fmt::Write as _;

use natter_nats::server::{Password, ServerRole};
use sha2::{Digest, Sha256};

/// To connect, to check the server, to run a script.
const EVERYBODY: &str = "+auth +ping +info +evalsha +eval";
/// What `query.lua` reads with, and all that `inbox.lua` does.
const READS: &str = "+hmget +hget +hvals +lrange +lindex +scard +smembers +sscan +zrangebylex";
/// What `apply.lua` does.
const WRITES: &str = "+hmget +hset +hdel +sadd +srem +zadd +zrem +zrangebyscore +zremrangebylex +rpush +ltrim +lindex";

/// Commands and keys of a role's user, as `ACL SETUSER` takes them.
pub fn rules(role: ServerRole) -> String {
    match role {
        ServerRole::Admin => "~* &* +@all".to_owned(),
        // Conversations, last messages, members, cursors, runs of imported lines, a user's conversations, display names, external ids, direct chats.
        ServerRole::Gateway => format!("~{{*}}:watermark ~{{*}}:*:[clmkqunxd]:* {EVERYBODY} {READS}"),
        // No message, no name, no list of a user's conversations; lines of imports, the times of names, refs and policies instead.
        ServerRole::Processor => {
            format!(
                "~{{*}}:watermark ~{{*}}:*:[cmkxdirt]:* ~{{*}}:*:[ir][ucdx]:* ~{{*}}:*:policies {EVERYBODY} {READS}"
            )
        }
        ServerRole::Projector => format!("~{{*}}:* {EVERYBODY} {WRITES}"),
        ServerRole::Auditor => format!("~{{*}}:* {EVERYBODY} {READS} +scan +hscan +zscan +type +dbsize"),
    }
}

/// The users, one a line: of an ACL file, and of a configuration file just so. Nobody gets in without a name.
pub fn users(passwords: &[(ServerRole, Password)]) -> String {
    let mut lines = String::from("user default off resetkeys resetchannels -@all\n");
    for (role, password) in passwords {
        let password = match password {
            Password::Literal(password) => format!("#{}", hex::encode(Sha256::digest(password))),
            Password::Environment(variable) => format!(">${variable}"),
        };
        let (user, rules) = (role.user(), rules(*role));
        writeln!(lines, "user {user} on {password} resetkeys resetchannels -@all {rules}").expect("memory");
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SHIPPED: &str = include_str!("../../../deploy/redis.acl");

    fn allowed(role: ServerRole) -> BTreeSet<String> {
        rules(role).split(' ').filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect()
    }

    /// The commands of `redis.call('NAME'` and, in `apply.lua`, of its own `call('NAME'` and `call_with('NAME'`.
    fn called(script: &str) -> BTreeSet<String> {
        let script = script.replace("call_with('", "call('");
        let calls = script.split("call('").skip(1);
        calls.filter_map(|rest| rest.split_once('\'')).map(|(name, _)| name.to_lowercase()).collect()
    }

    #[test]
    fn each_role_may_run_the_commands_of_its_scripts_and_no_other() {
        let (query, inbox, apply) =
            (called(include_str!("query.lua")), called(include_str!("inbox.lua")), called(include_str!("apply.lua")));
        let everybody: BTreeSet<_> = EVERYBODY.split(' ').map(|word| word.trim_start_matches('+').to_owned()).collect();
        assert!(query.len() > 5 && apply.len() > 8, "the scripts' commands were not found");
        let reads: BTreeSet<_> = query.union(&inbox).cloned().collect();
        for role in [ServerRole::Gateway, ServerRole::Processor] {
            assert_eq!(allowed(role), &reads | &everybody, "{role:?}");
        }
        // It also reads the watermark by `query.lua`.
        assert_eq!(allowed(ServerRole::Projector), &apply | &everybody);
    }

    /// When this fails because the users changed: `NATTER_WRITE_SERVER_CONF=1 cargo test -p natter-projections acl`.
    #[test]
    fn the_shipped_file_is_what_the_code_says() {
        let password =
            |role: ServerRole| Password::Environment(format!("REDIS_{}_PASSWORD", role.user().to_uppercase()));
        let users = users(&ServerRole::ALL.map(|role| (role, password(role))));
        if std::env::var_os("NATTER_WRITE_SERVER_CONF").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/redis.acl"), users).unwrap();
        } else {
            assert_eq!(SHIPPED, users);
        }
    }

    #[test]
    fn a_password_is_written_as_its_hash_only() {
        let users = users(&[(ServerRole::Gateway, Password::Literal("secret".to_owned()))]);
        assert!(users.contains(" #2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b "), "{users}");
        assert!(!users.contains("secret") && users.starts_with("user default off "), "{users}");
    }
}

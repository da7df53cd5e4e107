//! The broker's configuration: every acknowledged message on disk, and a user per role with the least it needs.

use std::fmt::Write as _;

use natter_schemas::subjects::{LEASES_BUCKET, POLICIES_BUCKET, command_stream, outcome_stream};

use crate::connection::inbox_prefix;
use crate::leases::role;
use crate::streams::{bucket_stream, bucket_subject};

/// Who connects to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerRole {
    /// Makes the streams; operators. May do everything.
    Admin,
    /// Writes commands and signals, hears outcomes.
    Gateway,
    /// Reads commands, writes outcomes, trims commands.
    Processor,
    /// Reads outcomes, trims those that are archived.
    Projector,
    /// Reads everything and writes nothing: tools that look.
    Auditor,
}

impl ServerRole {
    /// Every role.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Gateway, Self::Processor, Self::Projector, Self::Auditor];

    /// The name of its user.
    pub const fn user(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Gateway => "gateway",
            Self::Processor => "processor",
            Self::Projector => "projector",
            Self::Auditor => "auditor",
        }
    }
}

/// A password in the broker's configuration.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// This one: printable ASCII without quotes and backslashes.
    Literal(String),
    /// From this environment variable of the broker. Its value must not look like a number.
    Environment(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Literal(_) => formatter.write_str("Literal(…)"),
            Self::Environment(name) => write!(formatter, "Environment({name})"),
        }
    }
}

/// When the broker syncs to disk what it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before it acknowledges: an acknowledged message outlives a power cut.
    #[default]
    Always,
    /// Every two minutes, as the broker does by itself: to compare, never to keep anything.
    BrokersDefault,
}

/// What the broker's configuration depends on.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// `host:port`.
    pub listen: String,
    /// Where the streams are stored.
    pub store_dir: String,
    /// Bytes that all streams may take. Fixed, because the broker's own guess falls as the disk fills, and it refuses to
    /// load streams beyond it.
    pub file_store: u64,
    /// The log's partitions.
    pub partitions: u16,
    /// When what is acknowledged is on disk.
    pub fsync: Fsync,
    /// The users.
    pub users: Vec<(ServerRole, Password)>,
}

/// The whole configuration file.
pub fn server_config(settings: &ServerSettings) -> String {
    let ServerSettings { listen, store_dir, file_store, partitions, fsync, users } = settings;
    let sync = match fsync {
        Fsync::Always => "  # An acknowledged message is on disk.\n  sync_interval: always\n",
        Fsync::BrokersDefault => "",
    };
    let authorization = authorization(*partitions, users);
    format!(
        r#"# The broker of a log of {partitions} partitions.
server_name: natter
listen: "{listen}"
max_payload: 8MB
jetstream {{
  store_dir: "{store_dir}"
{sync}  max_file_store: {file_store}
}}
{authorization}"#
    )
}

/// The configuration's `authorization` block.
pub fn authorization(partitions: u16, users: &[(ServerRole, Password)]) -> String {
    let mut block = String::from("authorization {\n  users: [\n");
    for (role, password) in users {
        let password = match password {
            Password::Literal(password) => format!("\"{password}\""),
            Password::Environment(name) => format!("${name}"),
        };
        writeln!(block, "    {{\n      user: {}\n      password: {password}", role.user()).expect("memory");
        if *role != ServerRole::Admin {
            let Permissions { publish, subscribe } = Permissions::of(*role, partitions);
            writeln!(block, "      permissions: {{\n        publish: {}", list(&publish)).expect("memory");
            writeln!(block, "        subscribe: {}\n      }}", list(&subscribe)).expect("memory");
        }
        block.push_str("    }\n");
    }
    block.push_str("  ]\n}\n");
    block
}

fn list(subjects: &[String]) -> String {
    let lines: Vec<String> = subjects.iter().map(|subject| format!("          \"{subject}\"\n")).collect();
    format!("[\n{}        ]", lines.concat())
}

/// Subjects that a user may publish and subscribe to; all others are refused.
struct Permissions {
    publish: Vec<String>,
    subscribe: Vec<String>,
}

impl Permissions {
    fn of(role: ServerRole, partitions: u16) -> Self {
        let mut of = Self {
            // Every process checks the streams when it starts.
            publish: vec!["$JS.API.STREAM.INFO.*".into()],
            subscribe: vec![format!("{}.>", inbox_prefix(role.user()))],
        };
        match role {
            ServerRole::Admin => of = Self { publish: vec![">".into()], subscribe: vec![">".into()] },
            ServerRole::Gateway => {
                of.may_publish(["cmd.*", "signal.*"]);
                of.may_subscribe(["live.*", "signal.*"]);
                of.may_get((0..partitions).map(outcome_stream));
                // Whether every partition has a processor.
                of.may_get([bucket_stream(LEASES_BUCKET)].into_iter());
            }
            ServerRole::Processor => {
                of.may_publish(["evt.*", "cmd.*"]);
                of.may_read(
                    (0..partitions).flat_map(|partition| [command_stream(partition), outcome_stream(partition)]),
                );
                of.may_purge((0..partitions).map(command_stream));
                of.may_hold(&[role::PROCESSOR]);
                of.may_get([bucket_stream(POLICIES_BUCKET)].into_iter());
            }
            ServerRole::Projector => {
                of.may_read((0..partitions).map(outcome_stream));
                of.may_hold(&[role::REDIS_PROJECTOR, role::CLICKHOUSE_PROJECTOR, role::ARCHIVER]);
                // What the archive has.
                of.may_purge((0..partitions).map(outcome_stream));
            }
            ServerRole::Auditor => {
                of.may_read(
                    (0..partitions).flat_map(|partition| [command_stream(partition), outcome_stream(partition)]),
                );
                of.may_get([LEASES_BUCKET, POLICIES_BUCKET].map(bucket_stream).into_iter());
            }
        }
        of
    }

    fn may_publish<S: Into<String>>(&mut self, subjects: impl IntoIterator<Item = S>) {
        self.publish.extend(subjects.into_iter().map(Into::into));
    }

    fn may_subscribe<S: Into<String>>(&mut self, subjects: impl IntoIterator<Item = S>) {
        self.subscribe.extend(subjects.into_iter().map(Into::into));
    }

    /// Messages by sequence.
    fn may_get(&mut self, streams: impl Iterator<Item = String>) {
        for stream in streams {
            self.may_publish([format!("$JS.API.DIRECT.GET.{stream}"), format!("$JS.API.STREAM.MSG.GET.{stream}")]);
        }
    }

    /// From a stream's begin.
    fn may_purge(&mut self, streams: impl Iterator<Item = String>) {
        self.may_publish(streams.map(|stream| format!("$JS.API.STREAM.PURGE.{stream}")));
    }

    /// Messages by sequence, and consumers.
    fn may_read(&mut self, streams: impl Iterator<Item = String>) {
        for stream in streams {
            self.may_publish([
                format!("$JS.API.CONSUMER.CREATE.{stream}"),
                format!("$JS.API.CONSUMER.CREATE.{stream}.>"),
                format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.*"),
                // The client library asks for it when the link was away.
                format!("$JS.API.CONSUMER.INFO.{stream}.*"),
            ]);
            self.may_get([stream].into_iter());
        }
    }

    /// Leases of these roles.
    fn may_hold(&mut self, roles: &[&str]) {
        self.may_get([bucket_stream(LEASES_BUCKET)].into_iter());
        for role in roles {
            let leases = bucket_subject(LEASES_BUCKET, &format!("{role}.*"));
            self.may_publish([leases.clone(), bucket_subject(LEASES_BUCKET, &format!("presence.{role}.*"))]);
            self.may_subscribe([leases]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../server.conf");
    const SHIPPED_HEAD: &str = "# Written by `natter-nats` (nats/src/server.rs); a test compares. Passwords come from the environment and must not look
# like numbers. For another number of partitions the lists of streams below change.
";

    fn shipped() -> String {
        let password =
            |role: ServerRole| Password::Environment(format!("NATS_{}_PASSWORD", role.user().to_uppercase()));
        let settings = ServerSettings {
            listen: "0.0.0.0:4222".into(),
            store_dir: "/data".into(),
            file_store: 64 << 30,
            partitions: 4,
            fsync: Fsync::Always,
            users: ServerRole::ALL.map(|role| (role, password(role))).into(),
        };
        format!("{SHIPPED_HEAD}{}", server_config(&settings))
    }

    /// When this fails because the permissions changed: `NATTER_WRITE_SERVER_CONF=1 cargo test -p natter-nats`.
    #[test]
    fn the_shipped_file_is_what_the_code_says() {
        if std::env::var_os("NATTER_WRITE_SERVER_CONF").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/server.conf"), shipped()).unwrap();
        } else {
            assert_eq!(SHIPPED, shipped());
        }
    }

    #[test]
    fn every_acknowledged_message_is_synced_unless_the_brokers_default_is_asked_for() {
        let config = |fsync| {
            let (listen, store_dir) = ("127.0.0.1:1".to_owned(), "./store".to_owned());
            server_config(&ServerSettings { listen, store_dir, file_store: 1, partitions: 1, fsync, users: vec![] })
        };
        assert!(config(Fsync::default()).contains("\n  sync_interval: always\n"));
        assert!(!config(Fsync::BrokersDefault).contains("sync_interval"));
    }

    #[test]
    fn only_processors_write_outcomes() {
        let may = |role, subject: &str| Permissions::of(role, 2).publish.iter().any(|allowed| allowed == subject);
        for (role, commands, outcomes) in [
            (ServerRole::Gateway, true, false),
            // For ticks.
            (ServerRole::Processor, true, true),
            (ServerRole::Projector, false, false),
            (ServerRole::Auditor, false, false),
        ] {
            assert_eq!((may(role, "cmd.*"), may(role, "evt.*")), (commands, outcomes), "{role:?}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert!(!format!("{:?}", Password::Literal("secret".into())).contains("secret"));
    }
}

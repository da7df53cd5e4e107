//! ClickHouse's users: who there is, what each may do, and how the server and the embedded engine are told.

use std::fmt::Write as _;

use natter_nats::server::{Password, ServerRole};
use natter_projections::clickhouse::generations::stores;
use natter_projections::clickhouse::{OBJECTS, archive_store};
use natter_schemas::names::Tenant;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::analysts::{self, Analyst, Analysts};
use crate::engine::{ARCHIVE_READS, TABLES_OF_TENANTS};

/// Who asks the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryUser {
    /// A role, as on the other servers.
    Role(ServerRole),
    /// People with SQL: they read all there is.
    Analyst,
}

impl HistoryUser {
    /// Every user.
    pub const ALL: [Self; 6] = [
        Self::Role(ServerRole::Admin),
        Self::Role(ServerRole::Gateway),
        Self::Role(ServerRole::Processor),
        Self::Role(ServerRole::Projector),
        Self::Role(ServerRole::Auditor),
        Self::Analyst,
    ];

    /// The user's name. ClickHouse calls the one who may do everything `default`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Role(ServerRole::Admin) => "default",
            Self::Role(role) => role.user(),
            Self::Analyst => "analyst",
        }
    }

    /// What the user may do, for the analysts' database `views`.
    fn grants(self, views: &str) -> Vec<String> {
        // Generations of the tables take turns in two databases.
        let [one, other] = stores(views);
        let read = |database: &str| format!("GRANT SELECT, SHOW ON {database}.*");
        let reads = [&*one, &*other, views].map(read);
        let archive = read(&archive_store(views));
        match self {
            Self::Role(ServerRole::Admin) => vec!["GRANT ALL ON *.* WITH GRANT OPTION".to_owned()],
            Self::Role(ServerRole::Projector) => {
                [one, other].map(|store| format!("GRANT INSERT ON {store}.*")).into_iter().chain(reads).collect()
            }
            // How large the tables are.
            Self::Role(ServerRole::Auditor) => {
                ["GRANT SELECT ON system.parts".to_owned()].into_iter().chain(reads).chain([archive]).collect()
            }
            Self::Analyst => reads.into_iter().chain([archive]).collect(),
            Self::Role(ServerRole::Gateway | ServerRole::Processor) => reads.into(),
        }
    }
}

/// The `users.xml` of a ClickHouse server: a profile that nobody lifts for who only reads, grants for everybody, and for each tenant's analyst row policies and
/// a profile with the quota.
pub fn users_xml(networks: &str, users: &[(HistoryUser, Password)], analysts: &Analysts) -> String {
    let views = &analysts.views;
    let mut xml = String::from(
        "<!-- Written by natter (natter/src/backends/users.rs). -->\n<clickhouse>\n  <users replace=\"replace\">\n",
    );
    for (user, password) in users {
        let name = user.name();
        let password = match password {
            Password::Literal(password) => {
                format!("<password_sha256_hex>{}</password_sha256_hex>", digest(password))
            }
            Password::Environment(variable) => format!("<password from_env=\"{variable}\"/>"),
        };
        let grants: Vec<_> =
            user.grants(views).iter().map(|grant| format!("        <query>{grant}</query>\n")).collect();
        let grants = grants.concat();
        writeln!(
            xml,
            "    <{name}>\n      {password}\n      <networks><ip>{networks}</ip></networks>\n      <profile>{}</profile>\n      \
             <quota>default</quota>\n      <grants>\n{grants}      </grants>\n    </{name}>",
            profile(*user)
        )
        .expect("memory");
    }
    xml.extend(analysts.all().map(|(tenant, analyst)| tenant_xml(views, networks, tenant, analyst)));
    // 2: drivers set formats and limits for themselves; what a user may reach is in the grants.
    write!(
        xml,
        "  </users>\n  <profiles>\n    <default>\n{}    </default>\n    \
         <natter_reads>\n      <profile>default</profile>\n      <readonly>2</readonly>\n    </natter_reads>\n",
        settings_xml(ARCHIVE_READS)
    )
    .expect("memory");
    xml.extend(analysts.all().map(|(tenant, analyst)| profile_xml(tenant, analyst)));
    xml.push_str("  </profiles>\n  <quotas><default/></quotas>\n</clickhouse>\n");
    xml
}

/// A file for `users.d` of a ClickHouse that natter does not start: one tenant's analyst, beside the users of [`users_xml`].
pub fn tenant_file(views: &str, networks: &str, tenant: &Tenant, analyst: &Analyst) -> String {
    format!(
        "<!-- Written by natter: the analyst of one tenant, beside natter's own users. -->
<clickhouse>
  <users>
{}  </users>
  <profiles>
{}  </profiles>
</clickhouse>
",
        tenant_xml(views, networks, tenant, analyst),
        profile_xml(tenant, analyst)
    )
}

/// A tenant's analyst reads the views, and of the tables behind them the rows of the tenant.
fn tenant_xml(views: &str, networks: &str, tenant: &Tenant, analyst: &Analyst) -> String {
    let (name, password) = (analysts::user(tenant), digest(analyst.password()));
    let own = TABLES_OF_TENANTS
        .map(|table| format!("          <{table}><filter>tenant = '{tenant}'</filter></{table}>\n"))
        .concat();
    // These count the rows of all.
    let about = ["tables", "columns", "parts", "parts_columns"]
        .map(|table| format!("          <{table}><filter>database = '{views}'</filter></{table}>\n"))
        .concat();
    let grant = |store: &str, table: &str| format!("        <query>GRANT SELECT ON {store}.{table}</query>\n");
    let grants =
        |store: &String| TABLES_OF_TENANTS.map(|table| grant(store, table)).concat() + &grant(store, "watermarks");
    let grants = stores(views).each_ref().map(grants).concat();
    let own = stores(views).map(|store| format!("        <{store}>\n{own}        </{store}>\n")).concat();
    let archive = archive_store(views);
    format!(
        "    <{name}>
      <password_sha256_hex>{password}</password_sha256_hex>
      <networks><ip>{networks}</ip></networks>
      <profile>{name}</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT, SHOW ON {views}.*</query>
{grants}        <query>GRANT SELECT ON {archive}.{OBJECTS}</query>
      </grants>
      <databases>
{own}        <{archive}>
          <{OBJECTS}><filter>tenant = '{tenant}'</filter></{OBJECTS}>
        </{archive}>
        <system>
{about}        </system>
      </databases>
    </{name}>
"
    )
}

/// The quota, which the constraints keep from being lifted.
fn profile_xml(tenant: &Tenant, analyst: &Analyst) -> String {
    let name = analysts::user(tenant);
    let settings = analyst.quota.settings();
    // A ClickHouse that natter does not start may have profiles of its own.
    let values = settings_xml(ARCHIVE_READS) + &settings_xml(settings);
    let constraints = settings
        .map(|(setting, most)| format!("        <{setting}><min>1</min><max>{most}</max></{setting}>\n"))
        .concat();
    format!(
        "    <{name}>\n      <profile>default</profile>\n      <readonly>2</readonly>\n{values}      <constraints>\n{constraints}      </constraints>\n    </{name}>\n"
    )
}

fn settings_xml<const N: usize>(settings: [(&str, u64); N]) -> String {
    settings.map(|(setting, value)| format!("      <{setting}>{value}</{setting}>\n")).concat()
}

fn profile(user: HistoryUser) -> &'static str {
    match user {
        HistoryUser::Role(ServerRole::Admin | ServerRole::Projector) => "default",
        _ => "natter_reads",
    }
}

/// The users of the embedded engine (`natter clickhouse-server --users-file`), with the digests of their passwords.
pub fn engine_users<'p>(password: impl Fn(HistoryUser) -> &'p str, analysts: &Analysts) -> anyhow::Result<Vec<u8>> {
    let stores = stores(&analysts.views);
    let users = HistoryUser::ALL.into_iter().map(|user| {
        let role = match user {
            HistoryUser::Role(ServerRole::Admin) => json!("admin"),
            HistoryUser::Role(ServerRole::Projector) => json!({ "writer": { "databases": stores } }),
            HistoryUser::Role(_) => json!("reader"),
            HistoryUser::Analyst => json!("analyst"),
        };
        json!({ "name": user.name(), "password_sha256": digest(password(user)), "role": role })
    });
    let of_tenants = analysts.all().map(|(tenant, analyst)| {
        let role = json!({ "tenant": { "tenant": tenant, "quota": analyst.quota } });
        json!({ "name": analysts::user(tenant), "password_sha256": digest(analyst.password()), "role": role })
    });
    Ok(serde_json::to_vec_pretty(&users.chain(of_tenants).collect::<Vec<_>>())?)
}

fn digest(password: &str) -> String {
    hex::encode(Sha256::digest(password))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../deploy/clickhouse-users.xml");

    /// When this fails because the users changed: `NATTER_WRITE_SERVER_CONF=1 cargo test -p natter --lib backends::users`.
    #[test]
    fn the_shipped_file_is_what_the_code_says() {
        let password = |user: HistoryUser| {
            let name = if user.name() == "default" { "admin" } else { user.name() };
            Password::Environment(format!("CLICKHOUSE_{}_PASSWORD", name.to_uppercase()))
        };
        // The network that it is on is internal.
        let users = HistoryUser::ALL.map(|user| (user, password(user)));
        let xml = users_xml("::/0", &users, &analysts::example(&[]));
        if std::env::var_os("NATTER_WRITE_SERVER_CONF").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/clickhouse-users.xml"), xml).unwrap();
        } else {
            assert_eq!(SHIPPED, xml);
        }
    }

    #[test]
    fn only_the_projector_writes_and_only_its_own_tables() {
        for user in HistoryUser::ALL {
            let grants = user.grants("natter").join("\n");
            let writes = grants.contains("INSERT");
            assert_eq!(writes, user == HistoryUser::Role(ServerRole::Projector), "{user:?}: {grants}");
            assert!(!writes || grants.contains("INSERT ON natter_store.*"), "{grants}");
            assert!(!grants.contains("INSERT ON natter.*"), "{grants}");
        }
    }

    #[test]
    fn passwords_are_written_as_digests() {
        let analysts = analysts::example(&["acme"]);
        let users = engine_users(|_| "secret", &analysts).unwrap();
        let secret = [(HistoryUser::Analyst, Password::Literal("secret".to_owned()))];
        let xml = users_xml("127.0.0.1", &secret, &analysts);
        for text in [String::from_utf8(users).unwrap(), xml] {
            for password in ["secret", "of acme"] {
                assert!(text.contains(&digest(password)) && !text.contains(&format!("{password}\"")), "{text}");
            }
        }
    }

    #[test]
    fn a_tenants_analyst_has_policies_and_a_quota_on_a_server() {
        let xml = users_xml("127.0.0.1", &[], &analysts::example(&["acme", "other-app"]));
        for (tenant, lines) in [("acme", 11), ("other-app", 11)] {
            assert_eq!(xml.matches(&format!("<filter>tenant = '{tenant}'</filter>")).count(), lines, "{xml}");
            assert!(xml.contains(&format!("<profile>analyst-{tenant}</profile>")), "{xml}");
        }
        assert!(xml.contains("<max_execution_time><min>1</min><max>30</max></max_execution_time>"), "{xml}");
        assert!(!xml.contains("GRANT SELECT ON natter_store.*"), "{xml}");
    }

    #[test]
    fn a_file_for_another_server_says_the_same_of_a_tenants_analyst() {
        let analysts = analysts::example(&["acme--2"]);
        let (tenant, analyst) = analysts.all().next().unwrap();
        let file = tenant_file("natter", "::/0", tenant, analyst);
        let whole = users_xml("::/0", &[], &analysts);
        for part in [tenant_xml("natter", "::/0", tenant, analyst), profile_xml(tenant, analyst)] {
            assert!(file.contains(&part) && whole.contains(&part), "{file}");
        }
        assert!(!file.contains("replace="), "{file}");
    }
}

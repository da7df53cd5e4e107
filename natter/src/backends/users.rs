//! ClickHouse's users: who there is, what each may do, and how the server and the embedded engine are told.

use std::fmt::{Display, Write as _};

use natter_nats::server::{Password, ServerRole};
use natter_projections::clickhouse::archive_store;
use natter_projections::clickhouse::generations::stores;
use natter_schemas::names::Tenant;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::analysts::{self, Analyst, Analysts};
use crate::engine::{ARCHIVE_READS, SESSION_DEFAULTS};

/// Views with rows of tenants: the column `tenant` says whose.
const VIEWS_OF_TENANTS: [&str; 8] =
    ["archive", "conversations", "events", "members", "messages", "messages_by_hour", "response_times", "users"];
/// Settings that a tenant's analyst may not change, because they decide what comes first: the policy's condition or one of the statement, whose failure
/// would show a row of another tenant. (Tried: without the analyzer it does.) A server refuses a name that it does not know, so all are of 26.2 already.
const ORDER_OF_CONDITIONS: [&str; 7] = [
    "allow_experimental_analyzer",
    "compatibility",
    "enable_optimize_predicate_expression",
    "query_plan_enable_optimizations",
    "query_plan_filter_push_down",
    "query_plan_merge_filters",
    "short_circuit_function_evaluation",
];

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
        match self {
            Self::Role(ServerRole::Admin) => vec!["GRANT ALL ON *.* WITH GRANT OPTION".to_owned()],
            Self::Role(ServerRole::Projector) => {
                [one, other].map(|store| format!("GRANT INSERT ON {store}.*")).into_iter().chain(reads).collect()
            }
            // How large the tables are.
            Self::Role(ServerRole::Auditor) => {
                let archive = read(&archive_store(views));
                ["GRANT SELECT ON system.parts".to_owned()].into_iter().chain(reads).chain([archive]).collect()
            }
            // Through the views alone: what reads a table's indexes takes a right on the table.
            Self::Analyst => vec![read(views)],
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
        settings_xml(ARCHIVE_READS) + &settings_xml(SESSION_DEFAULTS)
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

/// A tenant's analyst reads of the views the rows of the tenant, and of the tables behind them nothing: the views read these as who made them.
fn tenant_xml(views: &str, networks: &str, tenant: &Tenant, analyst: &Analyst) -> String {
    let (name, password) = (analysts::user(tenant), digest(analyst.password()));
    let own = VIEWS_OF_TENANTS
        .map(|view| format!("          <{view}><filter>tenant = '{tenant}'</filter></{view}>\n"))
        .concat();
    // These count the rows of all.
    let about = ["tables", "columns", "parts", "parts_columns"]
        .map(|table| format!("          <{table}><filter>database = '{views}'</filter></{table}>\n"))
        .concat();
    format!(
        "    <{name}>
      <password_sha256_hex>{password}</password_sha256_hex>
      <networks><ip>{networks}</ip></networks>
      <profile>{name}</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT, SHOW ON {views}.*</query>
      </grants>
      <databases>
        <{views}>
{own}        </{views}>
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
    let values = settings_xml(ARCHIVE_READS) + &settings_xml(SESSION_DEFAULTS) + &settings_xml(settings);
    let constraints = settings
        .map(|(setting, most)| format!("        <{setting}><min>1</min><max>{most}</max></{setting}>\n"))
        .concat();
    let fixed = ORDER_OF_CONDITIONS.map(|setting| format!("        <{setting}><readonly/></{setting}>\n")).concat();
    format!(
        "    <{name}>\n      <profile>default</profile>\n      <readonly>2</readonly>\n{values}      <constraints>\n{constraints}{fixed}      </constraints>\n    </{name}>\n"
    )
}

fn settings_xml<V: Display, const N: usize>(settings: [(&str, V); N]) -> String {
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
    fn every_view_with_rows_of_tenants_has_a_policy_and_its_own_rights() {
        let views = include_str!("../../../projections/src/clickhouse/migrations/0006_analysts.sql");
        let mut names: Vec<_> = views
            .split("CREATE OR REPLACE VIEW {views}.")
            .skip(1)
            .inspect(|view| assert!(view.contains(") DEFINER = CURRENT_USER SQL SECURITY DEFINER AS"), "{view}"))
            .filter(|view| view.contains("    tenant LowCardinality(String)"))
            .filter_map(|view| view.split_whitespace().next())
            .chain(["archive"])
            .collect();
        names.sort_unstable();
        assert_eq!(names, VIEWS_OF_TENANTS);
    }

    #[test]
    fn analysts_have_rights_on_the_views_alone() {
        assert_eq!(HistoryUser::Analyst.grants("chat"), ["GRANT SELECT, SHOW ON chat.*"]);
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
        for (tenant, lines) in [("acme", 8), ("other-app", 8)] {
            assert_eq!(xml.matches(&format!("<filter>tenant = '{tenant}'</filter>")).count(), lines, "{xml}");
            assert!(xml.contains(&format!("<profile>analyst-{tenant}</profile>")), "{xml}");
        }
        assert!(xml.contains("<max_execution_time><min>1</min><max>30</max></max_execution_time>"), "{xml}");
        let own = &xml[xml.find("<analyst-acme>").unwrap()..];
        assert!(!own.contains("natter_store") && !own.contains("natter_archive"), "{own}");
        assert!(own.contains("<allow_experimental_analyzer><readonly/></allow_experimental_analyzer>"), "{own}");
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

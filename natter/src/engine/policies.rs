//! What holds a tenant's analyst to the tenant's rows: row policies of the engine itself.
//!
//! The engine knows one user only, so its policies go by something of the connection: the setting `log_comment`, which the front sets first on every
//! connection to `<proof>:<tenant>`, with nothing behind the colon for those who see every tenant. The proof is a digest over a key that is made at each
//! start, so that a statement that manages to set it for a sub-query (the engine's `readonly` does not look there) cannot make up another's. A
//! connection without a proof sees no rows at all.

use natter_projections::clickhouse::generations::stores;
use natter_projections::clickhouse::{OBJECTS, archive_store};
use sha2::{Digest, Sha256};

use super::answer::random_hex;
use super::archive::READS;

/// Tables of the store with rows of tenants: the column `tenant` says whose.
pub const TABLES: [&str; 5] = ["events", "messages", "conversations", "members", "users"];
/// Tables of the engine that say something of tables, and what it is about. An analyst of one tenant is shown what concerns the views: rows are counted there.
const ABOUT: [&str; 2] = ["tables", "columns"];
/// Tables of the engine that say what others do.
const HIDDEN: [&str; 4] = ["processes", "parts", "parts_columns", "row_policies"];

/// The policies of one engine.
#[derive(Debug)]
pub struct RowPolicies {
    /// The analysts' database.
    views: String,
    key: String,
}

impl RowPolicies {
    /// With a key of their own.
    pub fn new(views: &str) -> Self {
        Self { views: views.to_owned(), key: random_hex::<32>() }
    }

    /// The analysts' database.
    pub fn views(&self) -> &str {
        &self.views
    }

    /// The `log_comment` of a connection that sees this tenant's rows, or everybody's.
    pub fn comment(&self, tenant: Option<&str>) -> String {
        let tenant = tenant.unwrap_or_default();
        format!("{}:{tenant}", hex::encode_upper(Sha256::digest(format!("{}{tenant}", self.key))))
    }

    /// The engine's file of users: `default`, whom the library connects as, with the policies.
    pub fn users_xml(&self) -> String {
        // All but the column folds into a constant when a statement is planned.
        let comment = "getSetting('log_comment')";
        let tenant = format!("substring({comment}, 66)");
        let proven = format!("substring({comment}, 1, 64) = hex(SHA256(concat('{}', {tenant})))", self.key);
        let policy = |table: &str, or: &str| {
            format!("        <{table}><filter>{proven} AND ({tenant} = ''{or})</filter></{table}>\n")
        };
        let own: String = TABLES.map(|table| policy(table, &format!(" OR tenant = {tenant}"))).concat();
        let stores = stores(&self.views).map(|store| format!("      <{store}>\n{own}      </{store}>\n")).concat();
        let archive = archive_store(&self.views);
        let own_objects = policy(OBJECTS, &format!(" OR tenant = {tenant}"));
        let stores = format!("{stores}      <{archive}>\n{own_objects}      </{archive}>\n");
        let about: String = ABOUT.map(|table| policy(table, &format!(" OR database = '{}'", self.views))).concat();
        let profile = READS.map(|(setting, value)| format!("<{setting}>{value}</{setting}>")).concat();
        let hidden: String = HIDDEN.map(|table| policy(table, "")).concat();
        format!(
            "<clickhouse>
  <profiles><default>{profile}</default></profiles>
  <quotas><default/></quotas>
  <users>
    <default>
      <password/>
      <networks><ip>::/0</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <named_collection_control>1</named_collection_control>
      <databases>
{stores}      <system>
{about}{hidden}      </system>
      </databases>
    </default>
  </users>
</clickhouse>
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_proves_whose_rows_it_may_see() {
        let policies = RowPolicies::new("natter");
        let comments = [None, Some("acme"), Some("acme2")].map(|tenant| policies.comment(tenant));
        for (comment, tenant) in comments.iter().zip(["", "acme", "acme2"]) {
            assert_eq!((&comment[64..65], &comment[65..]), (":", tenant));
            assert!(comment[..64].bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)));
        }
        assert!(comments[0][..64] != comments[1][..64] && comments[1][..64] != comments[2][..64]);
        assert_ne!(RowPolicies::new("natter").comment(None), policies.comment(None), "keys are of one start");
    }

    #[test]
    fn every_table_with_rows_of_tenants_has_its_policy() {
        let tables = include_str!("../../../projections/src/clickhouse/migrations/0001_tables.sql");
        let of_tenants = tables.split("CREATE TABLE IF NOT EXISTS {store}.").skip(1);
        let of_tenants = of_tenants.filter(|table| table.contains("    tenant LowCardinality(String)"));
        let names: Vec<_> = of_tenants.filter_map(|table| table.split_whitespace().next()).collect();
        assert_eq!(names, TABLES);
        let xml = RowPolicies::new("chat").users_xml();
        for text in ["<chat_archive>", "<chat_store>", "<chat_store_2>", "database = 'chat'"] {
            assert!(xml.contains(text), "{text}: {xml}");
        }
    }
}

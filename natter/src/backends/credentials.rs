//! Passwords and keys of the backends: random, made at the first start, kept in the data folder.

use serde::{Deserialize, Serialize};

use super::folder::Folder;

const FILE: &str = "credentials.json";

/// What each backend is asked for. All values are letters and digits, so they go into URLs and config files as they are.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub nats_admin_password: String,
    pub nats_gateway_password: String,
    pub nats_processor_password: String,
    pub nats_projector_password: String,
    pub redis_password: String,
    pub clickhouse_password: String,
    pub s3_access_key: String,
    pub s3_secret_key: String,
    /// Signs what the parts of the S3 server ask of each other.
    pub s3_internal_key: String,
}

impl Credentials {
    /// Those of the data folder; at the first start new ones.
    pub fn load_or_make(folder: &Folder) -> anyhow::Result<Credentials> {
        if let Some(kept) = folder.read_json(FILE)? {
            return Ok(kept);
        }
        let made = Credentials {
            nats_admin_password: random_hex::<16>()?,
            nats_gateway_password: random_hex::<16>()?,
            nats_processor_password: random_hex::<16>()?,
            nats_projector_password: random_hex::<16>()?,
            redis_password: random_hex::<16>()?,
            clickhouse_password: random_hex::<16>()?,
            s3_access_key: random_hex::<10>()?,
            s3_secret_key: random_hex::<20>()?,
            s3_internal_key: random_hex::<16>()?,
        };
        folder.write_json(FILE, &made)?;
        Ok(made)
    }
}

/// `N` random bytes of the system in lower-case hex.
fn random_hex<const N: usize>() -> anyhow::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
impl Credentials {
    /// One letter or two each, for tests of the servers' configs.
    pub fn example() -> Credentials {
        let word = |word: &str| word.to_owned();
        Credentials {
            nats_admin_password: word("na"),
            nats_gateway_password: word("ng"),
            nats_processor_password: word("np"),
            nats_projector_password: word("nj"),
            redis_password: word("r"),
            clickhouse_password: word("secret"),
            s3_access_key: word("a"),
            s3_secret_key: word("s"),
            s3_internal_key: word("i"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn they_are_made_once_and_differ_between_folders() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(&outer.path().join("a")).await.unwrap();
        let first = Credentials::load_or_make(&folder).unwrap();
        let again = Credentials::load_or_make(&folder).unwrap();
        assert_eq!(first.nats_admin_password, again.nats_admin_password);
        assert_eq!(first.nats_admin_password.len(), 32);
        assert_ne!(first.nats_admin_password, first.nats_gateway_password);
        let other = Credentials::load_or_make(&Folder::open(&outer.path().join("b")).await.unwrap()).unwrap();
        assert_ne!(first.redis_password, other.redis_password);
    }
}

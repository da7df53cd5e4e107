//! Who a request comes from: a JWT (HS256) signed with the key of its tenant.

mod keys;
mod request;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use natter_schemas::error::ErrorCode;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::wire::server::ErrorBody;
use serde::{Deserialize, Serialize};

pub use keys::{KeyError, TenantKeys};
pub use request::{SUBPROTOCOL, offers_subprotocol, origin_allowed, token_of};

/// A token longer than this is no token of ours.
const TOKEN_BYTES_MAX: usize = 4096;
/// Clocks of those who make tokens may be ahead of ours by this much, in milliseconds.
const NOT_BEFORE_LEEWAY_MS: u64 = 60_000;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// The application; says whose key the token is signed with.
    pub tenant: Tenant,
    /// The user's display name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<DisplayName>,
    /// When the token ends, in Unix seconds.
    pub exp: u64,
    /// Not valid earlier than this, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub nbf: Option<u64>,
    /// An operator's tool: may set sender and time, is slowed down instead of refused.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub service: bool,
}

/// Who a request comes from, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The application.
    pub tenant: Tenant,
    /// The user.
    pub user: UserId,
    /// The user's display name, as the token says it.
    pub name: Option<DisplayName>,
    /// When the token ends, in Unix milliseconds.
    pub expires_ms: u64,
    /// An operator's tool.
    pub service: bool,
}

/// Makes a token with the tenant's `key`.
///
/// # Errors
/// The claims cannot be written as JSON or signed: never, for claims as they are today.
pub fn mint(claims: &Claims, key: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key))
}

/// Checks a token at `now_ms` (Unix milliseconds).
///
/// # Errors
/// [`ErrorCode::Unauthenticated`]; the message does not say more than the holder of a valid token may know.
pub fn authenticate(token: &str, keys: &TenantKeys, now_ms: u64) -> Result<Identity, ErrorBody> {
    let refused = |why: &str| ErrorBody::new(ErrorCode::Unauthenticated, why);
    if token.len() > TOKEN_BYTES_MAX {
        return Err(refused("the token is longer than 4096 bytes"));
    }
    // Nothing is believed yet: this only says whose key to try.
    let claimed: ClaimedTenant =
        insecure_decode_claims(token).map_err(|_| refused("the token is not a JWT with a tenant"))?;
    let key = keys.key(&claimed.tenant).ok_or_else(|| refused("the token's signature is not valid"))?;
    let claims = decode::<Claims>(token, &DecodingKey::from_secret(&key), &validation())
        .map_err(|error| refused(&format!("the token is not valid: {error}")))?
        .claims;
    let expires_ms = claims.exp.saturating_mul(1000);
    if expires_ms <= now_ms {
        return Err(refused("the token has expired"));
    }
    if claims.nbf.is_some_and(|nbf| nbf.saturating_mul(1000) > now_ms + NOT_BEFORE_LEEWAY_MS) {
        return Err(refused("the token is not valid yet"));
    }
    let Claims { sub: user, tenant, name, service, .. } = claims;
    Ok(Identity { tenant, user, name, expires_ms, service })
}

#[derive(Deserialize)]
struct ClaimedTenant {
    tenant: Tenant,
}

/// One algorithm and no other, whatever the token's header asks for. Times are checked against the clock that is given,
/// not the library's.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn keys() -> TenantKeys {
        TenantKeys::new([], Some(vec![7; 32])).unwrap()
    }

    fn claims(tenant: &str) -> Claims {
        Claims {
            sub: UserId::trusted("ada"),
            tenant: Tenant::trusted(tenant),
            name: None,
            exp: NOW_MS / 1000 + 60,
            nbf: None,
            service: false,
        }
    }

    fn minted(claims: &Claims) -> String {
        mint(claims, &keys().key(&claims.tenant).unwrap()).unwrap()
    }

    fn message(token: &str) -> String {
        let error = authenticate(token, &keys(), NOW_MS).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated);
        error.message
    }

    #[test]
    fn a_minted_token_says_who_it_is() {
        let mut service = claims("demo");
        service.service = true;
        let identity = authenticate(&minted(&service), &keys(), NOW_MS).unwrap();
        assert_eq!((identity.tenant.as_str(), identity.user.as_str(), identity.service), ("demo", "ada", true));
        assert_eq!(identity.expires_ms, NOW_MS + 60_000);
        assert!(!authenticate(&minted(&claims("demo")), &keys(), NOW_MS).unwrap().service);
    }

    #[test]
    fn expired_or_early_tokens_are_refused() {
        let mut expired = claims("demo");
        expired.exp = NOW_MS / 1000;
        assert_eq!(message(&minted(&expired)), "the token has expired");
        let mut early = claims("demo");
        early.nbf = Some(NOW_MS / 1000 + 120);
        assert_eq!(message(&minted(&early)), "the token is not valid yet");
    }

    #[test]
    fn another_tenants_key_is_refused() {
        let other = keys().key(&Tenant::trusted("other")).unwrap();
        let token = mint(&claims("demo"), &other).unwrap();
        assert!(message(&token).contains("not valid"));
        let wrong = mint(&claims("demo"), &[8; 32]).unwrap();
        assert!(message(&wrong).contains("not valid"));
    }

    #[test]
    fn the_tenant_cannot_be_exchanged_under_the_signature() {
        let token = minted(&claims("demo"));
        let parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims("other")).unwrap());
        message(&format!("{}.{forged}.{}", parts[0], parts[2]));
    }

    #[test]
    fn no_algorithm_but_ours_is_accepted() {
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims("demo")).unwrap());
        for alg in ["none", "None", "RS256", "ES256", "EdDSA", "PS256"] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
            message(&format!("{header}.{payload}."));
            message(&format!("{header}.{payload}.AAAA"));
        }
        for alg in [Algorithm::HS384, Algorithm::HS512] {
            let key = keys().key(&Tenant::trusted("demo")).unwrap();
            message(&encode(&Header::new(alg), &claims("demo"), &EncodingKey::from_secret(&key)).unwrap());
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["", ".", "..", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30.", &"x".repeat(5000)] {
            message(token);
        }
    }

    #[test]
    fn names_in_claims_go_through_the_same_door() {
        let mut long = claims("demo");
        long.sub = UserId::trusted(&"a".repeat(129));
        message(&minted(&long));
    }
}

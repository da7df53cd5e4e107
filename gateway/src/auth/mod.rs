//! Who a request comes from: a JWT (HS256) signed with the key of its tenant.

mod claims;
mod keys;
mod origin;
mod request;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use natter_schemas::error::ErrorCode;
use natter_schemas::names::{DisplayName, Tenant, UserId};
use natter_schemas::wire::server::ErrorBody;
use serde::Deserialize;

use claims::{Audience, Presented};

pub use claims::{Claims, EXP_END};
pub use keys::{KeyError, TenantKeys};
pub use origin::{Origin, OriginError};
pub use request::{SUBPROTOCOL, offers_subprotocol, origin_allowed, origin_of, token_of};

/// A token longer than this is no token of ours.
const TOKEN_BYTES_MAX: usize = 4096;
/// Clocks of those who make tokens may be ahead of ours by this much, in milliseconds.
const NOT_BEFORE_LEEWAY_MS: u64 = 60_000;

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
    let presented = decode::<Presented>(token, &DecodingKey::from_secret(&key), &validation())
        .map_err(|error| refused(&format!("the token is not valid: {error}")))?
        .claims;
    if let Some(name) = extension(token) {
        return Err(refused(&format!("the token's header has `{name}`: no extension of JWS is understood here")));
    }
    let Presented { sub: user, tenant, name, exp, nbf, aud, service } = presented;
    if exp.unix_ms <= now_ms {
        return Err(refused("the token has expired"));
    }
    if nbf.is_some_and(|nbf| nbf.unix_ms > now_ms.saturating_add(NOT_BEFORE_LEEWAY_MS)) {
        return Err(refused("the token is not valid yet"));
    }
    is_for(keys.audience(&tenant), aud.as_ref()).map_err(|why| refused(&why))?;
    Ok(Identity { tenant, user, name, expires_ms: exp.unix_ms, service })
}

/// What changes how a token is to be read: whoever does not understand it has to refuse it (RFC 7515, 4.1.11; RFC 7797, 6).
const EXTENSIONS: [&str; 2] = ["crit", "b64"];

fn extension(token: &str) -> Option<&'static str> {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
    let names: HashMap<String, serde_json::Value> = serde_json::from_slice(&header).ok()?;
    EXTENSIONS.into_iter().find(|name| names.contains_key(*name))
}

/// Whether a token that names these is for `wanted`, where the operator wants tokens to be for somebody.
fn is_for(wanted: Option<&str>, named: Option<&Audience>) -> Result<(), String> {
    match (wanted, named) {
        (None, None) => Ok(()),
        (Some(wanted), Some(named)) if named.has(wanted) => Ok(()),
        (Some(wanted), Some(_)) => Err(format!("the token is for somebody else: `aud` must have `{wanted}`")),
        (Some(wanted), None) => Err(format!("the token does not say whom it is for: `aud` must have `{wanted}`")),
        (None, Some(_)) => {
            Err("the token is for somebody else: it has `aud`, and no audience is configured for its tenant".to_owned())
        }
    }
}

#[derive(Deserialize)]
struct ClaimedTenant {
    tenant: Tenant,
}

/// One algorithm and no other, whatever the token's header asks for. Claims are checked by [`authenticate`]: times against
/// the clock that is given, and each by a message that names it.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

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
            aud: None,
            service: false,
        }
    }

    fn minted(claims: &Claims) -> String {
        mint(claims, &keys().key(&claims.tenant).unwrap()).unwrap()
    }

    /// These bytes, rightly signed with `demo`'s key.
    fn signed(header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let mut mac = Hmac::<Sha256>::new_from_slice(&keys().key(&Tenant::trusted("demo")).unwrap()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    /// A token of `ada`'s with these claims besides.
    fn saying(claims: &str) -> String {
        signed(r#"{"alg":"HS256"}"#, &format!(r#"{{"sub":"ada","tenant":"demo",{claims}}}"#))
    }

    fn message(token: &str) -> String {
        message_of(token, &keys())
    }

    fn message_of(token: &str, keys: &TenantKeys) -> String {
        let error = authenticate(token, keys, NOW_MS).unwrap_err();
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
    #[test]
    fn times_may_have_a_fraction() {
        let token = saying(r#""exp":1800000060.25,"nbf":1799999999.5,"iat":1799999999.123"#);
        assert_eq!(authenticate(&token, &keys(), NOW_MS).unwrap().expires_ms, NOW_MS + 60_250);
        let within = saying(r#""exp":1800000060,"nbf":1800000059.999"#);
        assert!(authenticate(&within, &keys(), NOW_MS).is_ok(), "other clocks may be ahead by a minute");
        assert_eq!(message(&saying(r#""exp":1800000061,"nbf":1800000060.001"#)), "the token is not valid yet");
        assert!(authenticate(&saying(r#""exp":1800000000.001"#), &keys(), NOW_MS).is_ok());
        assert_eq!(message(&saying(r#""exp":1800000000.0"#)), "the token has expired");
        assert_eq!(message(&saying(r#""exp":-1"#)), "the token has expired");
    }

    #[test]
    fn a_wrong_time_is_named_and_said_what_it_is() {
        let beyond = "is beyond the year 2100: seconds since 1970 are meant, not milliseconds";
        for (claims, says) in [
            (r#""exp":1800000060000"#, &format!("`exp`: 1800000060000 {beyond}")[..]),
            (r#""exp":1800000060,"nbf":1800000000000"#, &format!("`nbf`: 1800000000000 {beyond}")),
            (r#""exp":"1800000060""#, "`exp`: invalid type: string \"1800000060\", expected a number of seconds"),
            (r#""exp":1e400"#, "`exp`: number out of range"),
            (r#""exp":null"#, "`exp`: invalid type: null"),
            (r#""exp":1800000060,"nbf":"now""#, "`nbf`: invalid type: string"),
            (r#""name":"Ada""#, "missing field `exp`"),
            (r#""exp":1,"exp":1800000060"#, "duplicate field `exp`"),
            (r#""exp":1800000060,"sub":"eve""#, "duplicate field `sub`"),
        ] {
            let message = message(&saying(claims));
            assert!(message.contains(says), "{claims}: {message}");
        }
    }

    #[test]
    fn extensions_of_the_header_are_refused() {
        let payload = r#"{"sub":"ada","tenant":"demo","exp":1800000060}"#;
        let with = |more: &str| signed(&format!(r#"{{"alg":"HS256"{more}}}"#), payload);
        for (more, name) in [
            (r#","crit":["exp"],"exp":1"#, "`crit`"),
            (r#","crit":["http://example.invalid/once"],"http://example.invalid/once":true"#, "`crit`"),
            (r#","crit":[]"#, "`crit`"),
            (r#","crit":null"#, "`crit`"),
            (r#","b64":false,"crit":["b64"]"#, "`crit`"),
            (r#","b64":false"#, "`b64`"),
            (r#","b64":true"#, "`b64`"),
        ] {
            let message = message(&with(more));
            assert!(message.contains(name) && message.contains("extension"), "{more}: {message}");
        }
        message(&with(r#","crit":"exp""#));
        message(&with(r#","alg":"HS256""#));
        assert!(authenticate(&with(r#","kid":"1","x-mine":7"#), &keys(), NOW_MS).is_ok(), "what is not critical");
    }

    #[test]
    fn a_token_is_for_the_audience_that_is_configured() {
        let demo = Tenant::trusted("demo");
        let own = keys().with_audiences([(demo, "chat".to_owned())], Some("others".to_owned()));
        let by_default = keys().with_audiences([], Some("chat".to_owned()));
        for keys in [own, by_default] {
            for aud in [r#""chat""#, r#"["mail","chat"]"#] {
                let token = saying(&format!(r#""exp":1800000060,"aud":{aud}"#));
                assert!(authenticate(&token, &keys, NOW_MS).is_ok(), "{aud}");
                assert!(message(&token).contains("no audience is configured"), "{aud}");
            }
            for aud in [r#""mail""#, r#""Chat""#, "\"\"", r#"["mail","cha"]"#, "[]"] {
                let token = saying(&format!(r#""exp":1800000060,"aud":{aud}"#));
                assert!(message_of(&token, &keys).contains("for somebody else: `aud` must have `chat`"), "{aud}");
            }
            for aud in ["7", r#"{"chat":1}"#, r#"["chat",7]"#] {
                let token = saying(&format!(r#""exp":1800000060,"aud":{aud}"#));
                assert!(message_of(&token, &keys).contains("`aud` is neither a text nor a list of texts"), "{aud}");
            }
            let silent = saying(r#""exp":1800000060"#);
            assert!(message_of(&silent, &keys).contains("does not say whom it is for: `aud` must have `chat`"));
        }
    }
}

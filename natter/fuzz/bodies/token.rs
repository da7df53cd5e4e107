//! Tokens: nobody comes in without the tenant's key, and with it only who the limits allow.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use natter_schemas::limits::USER_BYTES_MAX;
use natter_schemas::names::Tenant;
use sha2::Sha256;

use crate::auth::{EXP_END, TenantKeys, authenticate};

const NOW_MS: u64 = 1_800_000_000_000;

/// A token as it is; and the same bytes as a header and a payload that are rightly signed.
pub fn run(data: &[u8]) {
    let keys = TenantKeys::new([], Some(vec![7; 32])).expect("a key");
    if let Ok(token) = std::str::from_utf8(data) {
        assert!(authenticate(token, &keys, NOW_MS).is_err(), "nobody signed this");
    }
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (Some(header), Some(payload)) = (lines.next(), lines.next()) else { return };
    let key = keys.key(&Tenant::trusted("demo")).expect("a key");
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any length");
    mac.update(signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()));
    if let Ok(identity) = authenticate(&token, &keys, NOW_MS) {
        assert_eq!(identity.tenant.as_str(), "demo", "the key is that tenant's");
        assert!(identity.expires_ms > NOW_MS && identity.expires_ms < EXP_END * 1000);
        assert!((1..=USER_BYTES_MAX).contains(&identity.user.as_str().len()));
        let header: serde_json::Value = serde_json::from_slice(header).expect("a header");
        assert_eq!(header["alg"], "HS256");
        assert!(header.get("crit").is_none() && header.get("b64").is_none(), "extensions are not understood");
    }
}

//! A request's head: what is found does not depend on how it arrives, stands within the bytes and the limits, and is what the parser
//! behind it finds.

use crate::http::head::{HEAD_BYTES_MAX, Head, HeadError, look};

/// The first byte says where the others are cut.
pub fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else { return };
    let whole = look(bytes, 0);
    if let Ok(Some(Head { bytes: end, .. })) = whole {
        assert!(end <= bytes.len() && end <= HEAD_BYTES_MAX && bytes[..end].ends_with(b"\r\n\r\n"));
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let parsed = httparse::Request::new(&mut headers).parse(bytes);
        assert_eq!(parsed, Ok(httparse::Status::Complete(end)));
        assert_eq!(look(&bytes[..end], 0), whole, "what follows is not looked at");
    }
    let cut = bytes.len() * usize::from(*cut) / 256;
    match look(&bytes[..cut], 0) {
        Ok(None) => {
            let later = look(bytes, cut);
            // Another protocol is told by its first piece only.
            let early =
                matches!(whole, Err(HeadError::Http(_) | HeadError::Folded | HeadError::Headers)) && later == Ok(None);
            assert!(later == whole || early, "{later:?} and {whole:?}");
        }
        Ok(Some(head)) => assert_eq!(whole, Ok(Some(head))),
        Err(_) => assert!(whole.is_err()),
    }
}

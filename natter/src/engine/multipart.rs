//! `multipart/form-data` as ClickHouse's clients send it: the query and its parameters as fields.

use super::errors::{EngineError, code};

/// A field's name and its bytes.
pub type Field = (String, Vec<u8>);

/// The boundary in a `Content-Type: multipart/form-data; boundary=…`, or `None` for another type.
pub fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// Takes a whole body apart into its fields.
///
/// # Errors
/// A body that does not follow RFC 7578, or has a field without a name.
pub fn parse(body: &[u8], boundary: &str) -> Result<Vec<Field>, EngineError> {
    let opening = format!("--{boundary}");
    let separator = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(opening.as_bytes()).ok_or_else(|| malformed("the opening boundary is missing"))?;
    let mut fields = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(fields);
        }
        rest = rest.strip_prefix(b"\r\n").ok_or_else(|| malformed("no line ends behind a boundary"))?;
        let head_end = find(rest, b"\r\n\r\n").ok_or_else(|| malformed("a field's headers do not end"))?;
        let name = field_name(&rest[..head_end])?;
        rest = &rest[head_end + 4..];
        let value_end = find(rest, separator.as_bytes()).ok_or_else(|| malformed("the closing boundary is missing"))?;
        fields.push((name, rest[..value_end].to_vec()));
        rest = &rest[value_end + separator.len()..];
    }
}

fn field_name(headers: &[u8]) -> Result<String, EngineError> {
    let headers = std::str::from_utf8(headers).map_err(|_| malformed("a field's headers are not UTF-8"))?;
    let disposition = headers
        .split("\r\n")
        .find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-disposition")))
        .ok_or_else(|| malformed("a field has no content disposition"))?;
    let parameter = |name: &str| {
        disposition.1.split(';').find_map(|part| {
            part.trim().strip_prefix(name)?.strip_prefix('=').map(|value| value.trim_matches('"').to_owned())
        })
    };
    if parameter("filename").is_some() {
        return Err(EngineError::new(
            code::NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            "external data in a form is not supported",
        ));
    }
    parameter("name").ok_or_else(|| malformed("a field has no name"))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn malformed(text: &str) -> EngineError {
    EngineError::new(code::INCORRECT_DATA, "INCORRECT_DATA", format!("malformed form: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "--XX\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {a:String}\r\n-- x\r\n--XX\r\n\
                        content-disposition: form-data; name=param_a\r\nContent-Type: text/plain\r\n\r\n\r\n--XX--\r\n";

    #[test]
    fn fields_are_read() {
        let fields = parse(BODY.as_bytes(), "XX").expect("form");
        assert_eq!(
            fields,
            [("query".to_owned(), b"SELECT {a:String}\r\n-- x".to_vec()), ("param_a".to_owned(), Vec::new())]
        );
    }

    #[test]
    fn the_boundary_is_found() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Form-Data; charset=x; Boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("text/plain; boundary=abc"), None);
    }

    #[test]
    fn a_form_that_is_cut_off_is_refused() {
        for cut in 0..BODY.len() - 4 {
            assert!(parse(&BODY.as_bytes()[..cut], "XX").is_err(), "cut at {cut}");
        }
        let file = BODY.replace("name=param_a", "name=t; filename=\"t.csv\"");
        assert_eq!(parse(file.as_bytes(), "XX").expect_err("file").code, code::NOT_IMPLEMENTED);
    }
}

//! What the front knows about ClickHouse's formats: which results may be sent in parts, and their media types.

/// How a result of this format can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// Only as a whole: the engine makes each part of a streamed result a document of its own, and such documents do not join.
    Whole,
    /// Parts join as they are.
    Parts,
    /// Parts join once the repeated header of names and types is taken off all but the first.
    PartsWithHeader,
}

/// Whether this is the Native format. ClickHouse takes formats' names in any case, so it is for all that is asked here.
pub fn is_native(format: &str) -> bool {
    format.eq_ignore_ascii_case("Native")
}

/// Formats whose parts were compared with the whole, byte by byte.
const JOINING: [&str; 16] = [
    "RowBinary",
    "Native",
    "TabSeparated",
    "TSV",
    "TabSeparatedRaw",
    "TSVRaw",
    "TSKV",
    "CSV",
    "JSONEachRow",
    "JSONLines",
    "NDJSON",
    "JSONL",
    "JSONStringsEachRow",
    "JSONCompactEachRow",
    "JSONCompactStringsEachRow",
    "LineAsString",
];

/// How results of `format` are sent.
pub fn streaming(format: &str) -> Streaming {
    if format.eq_ignore_ascii_case("RowBinaryWithNamesAndTypes") {
        Streaming::PartsWithHeader
    } else if JOINING.iter().any(|joining| format.eq_ignore_ascii_case(joining)) {
        Streaming::Parts
    } else {
        Streaming::Whole
    }
}

/// The length of a `RowBinaryWithNamesAndTypes` header: a count of columns, their names, their types; counts and lengths are LEB128.
/// `None` when the bytes end within it.
pub fn header_length(part: &[u8]) -> Option<usize> {
    let mut at = 0;
    let columns = read_leb128(part, &mut at)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = read_leb128(part, &mut at)?;
        at = at.checked_add(usize::try_from(length).ok()?)?;
    }
    (at <= part.len()).then_some(at)
}

fn read_leb128(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The `Content-Type` with which ClickHouse sends this format.
pub fn content_type(format: &str) -> &'static str {
    let format = format.to_ascii_lowercase();
    match &*format {
        _ if format.starts_with("tabseparated") || format.starts_with("tsv") => {
            "text/tab-separated-values; charset=UTF-8"
        }
        _ if format.starts_with("csv") => "text/csv; charset=UTF-8; header=absent",
        "jsoneachrow"
        | "jsonlines"
        | "ndjson"
        | "jsonl"
        | "jsonstringseachrow"
        | "jsoncompacteachrow"
        | "jsoncompactstringseachrow" => "application/x-ndjson; charset=UTF-8",
        _ if format.starts_with("json") => "application/json; charset=UTF-8",
        "xml" => "application/xml; charset=UTF-8",
        "markdown" | "md" => "text/markdown; charset=UTF-8",
        _ if format.starts_with("rowbinary") => "application/octet-stream",
        "native" | "parquet" | "arrow" | "arrowstream" | "orc" | "avro" | "msgpack" | "protobuf" | "bsoneachrow" => {
            "application/octet-stream"
        }
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_names_and_types_is_measured() {
        let header = b"\x02\x01a\x04name\x06UInt64\x06String";
        let mut part = header.to_vec();
        part.extend_from_slice(b"rows");
        assert_eq!(header_length(&part), Some(header.len()));
        for cut in 0..header.len() {
            assert_eq!(header_length(&part[..cut]), None, "cut at {cut}");
        }
        assert_eq!(header_length(&[0xff; 12]), None);
    }

    #[test]
    fn formats_are_sent_as_they_can_be() {
        assert_eq!(streaming("RowBinary"), Streaming::Parts);
        assert_eq!(streaming("RowBinaryWithNamesAndTypes"), Streaming::PartsWithHeader);
        assert_eq!(streaming("jsoneachrow"), Streaming::Parts);
        assert_eq!(streaming("rowbinarywithnamesandtypes"), Streaming::PartsWithHeader);
        assert!(is_native("native") && !is_native("RowBinary"));
        assert_eq!(streaming("JSON"), Streaming::Whole);
        assert_eq!(streaming("Parquet"), Streaming::Whole);
        assert_eq!(content_type("JSONEachRow"), "application/x-ndjson; charset=UTF-8");
        assert_eq!(content_type("JSONCompact"), "application/json; charset=UTF-8");
        assert_eq!(content_type("json"), "application/json; charset=UTF-8");
        assert_eq!(content_type("TSVWithNames"), "text/tab-separated-values; charset=UTF-8");
    }
}

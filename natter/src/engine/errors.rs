//! ClickHouse's errors: their numbers, and the HTTP status each is answered with.

use axum::http::StatusCode;

/// An error as ClickHouse words it: `Code: 60. DB::Exception: … (UNKNOWN_TABLE)`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// ClickHouse's error number.
    pub code: u32,
    pub message: String,
}

/// The numbers that Natter gives out by itself.
pub mod code {
    pub const CANNOT_READ_ALL_DATA: u32 = 33;
    pub const NOT_IMPLEMENTED: u32 = 48;
    pub const SYNTAX_ERROR: u32 = 62;
    pub const UNKNOWN_DATABASE: u32 = 81;
    pub const UNKNOWN_SETTING: u32 = 115;
    pub const INCORRECT_DATA: u32 = 117;
    pub const QUERY_IS_TOO_LARGE: u32 = 223;
    pub const TOO_MANY_ROWS: u32 = 158;
    pub const READONLY: u32 = 164;
    pub const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
    pub const SOCKET_TIMEOUT: u32 = 209;
    pub const CANNOT_DECOMPRESS: u32 = 271;
    pub const TOO_MANY_BYTES: u32 = 307;
    pub const TOO_MANY_ROWS_OR_BYTES: u32 = 396;
    pub const AUTHENTICATION_FAILED: u32 = 516;
    pub const UNKNOWN_EXCEPTION: u32 = 1002;
}

impl EngineError {
    /// An error that Natter's own front raises, in ClickHouse's words.
    pub fn new(code: u32, name: &str, text: impl std::fmt::Display) -> Self {
        Self { code, message: format!("Code: {code}. DB::Exception: {text}. ({name})") }
    }

    /// Something that should not happen.
    pub fn internal(text: impl std::fmt::Display) -> Self {
        Self::new(code::UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", text)
    }

    /// A statement that writes, where only reading is allowed.
    pub fn read_only() -> Self {
        Self::new(
            code::READONLY,
            "READONLY",
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly",
        )
    }

    /// Reads the number out of an error text of the engine.
    pub fn parse(text: &str) -> Self {
        let number = text
            .split_once("Code: ")
            .and_then(|(_, rest)| rest.split('.').next())
            .and_then(|digits| digits.parse().ok());
        match number {
            Some(code) => Self { code, message: text.trim_end().to_owned() },
            None => Self::internal(text.trim_end()),
        }
    }

    /// Whether the library says that this statement is no select, so that it must be run as a whole. It says so before it runs anything.
    pub fn is_not_streamable(&self) -> bool {
        self.message.starts_with("Code: 36. DB::Exception: Streaming query is not supported")
    }

    /// The status with which ClickHouse's HTTP interface answers this error (its `exceptionCodeToHTTPStatus`).
    pub fn status(&self) -> StatusCode {
        match self.code {
            // Bad texts, values and syntax.
            6 | 15 | 25 | 26 | 27 | 36 | 38 | 41 | 43 | 44 | 53 | 62 | 69 | 72 | 117 | 168 | 271 | 376 | 427 | 441
            | 467 | 675 | 676 => StatusCode::BAD_REQUEST,
            // Unknown tables, columns, functions, types, databases, settings, formats.
            46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 115 | 138 | 152 | 336 => StatusCode::NOT_FOUND,
            code::QUERY_IS_TOO_LARGE => StatusCode::PAYLOAD_TOO_LARGE,
            194 => StatusCode::UNAUTHORIZED,
            192 | 193 | code::AUTHENTICATION_FAILED => StatusCode::FORBIDDEN,
            159 => StatusCode::REQUEST_TIMEOUT,
            code::TOO_MANY_SIMULTANEOUS_QUERIES | code::SOCKET_TIMEOUT | 439 => StatusCode::SERVICE_UNAVAILABLE,
            code::NOT_IMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_from_the_text() {
        let error = EngineError::parse("Code: 60. DB::Exception: Unknown table 'nope'. (UNKNOWN_TABLE)\n");
        assert_eq!(error.code, 60);
        assert_eq!(error.status(), StatusCode::NOT_FOUND);
        assert!(error.message.ends_with("(UNKNOWN_TABLE)"));
        assert_eq!(EngineError::parse("Streaming insert failed").code, code::UNKNOWN_EXCEPTION);
    }

    #[test]
    fn statuses_are_those_of_clickhouse() {
        let status = |code| EngineError { code, message: String::new() }.status().as_u16();
        for (code, expected) in [
            (62, 400),
            (36, 400),
            (60, 404),
            (81, 404),
            (115, 404),
            (516, 403),
            (194, 401),
            (202, 503),
            (48, 501),
            (164, 500),
            (395, 500),
        ] {
            assert_eq!(status(code), expected, "code {code}");
        }
    }

    #[test]
    fn a_statement_that_cannot_be_streamed_is_recognised() {
        assert!(
            EngineError::parse(
                "Code: 36. DB::Exception: Streaming query is not supported for query: show tables. (BAD_ARGUMENTS)"
            )
            .is_not_streamable()
        );
        assert!(!EngineError::parse("Code: 36. DB::Exception: Other. (BAD_ARGUMENTS)").is_not_streamable());
    }
}

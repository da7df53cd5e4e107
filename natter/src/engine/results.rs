//! What the engine is given and gives back, in Rust's own types.

use std::ops::Add;

/// What a statement read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    pub read_rows: u64,
    pub read_bytes: u64,
    pub written_rows: u64,
    pub written_bytes: u64,
    pub result_rows: u64,
    pub elapsed_seconds: f64,
}

impl Progress {
    /// Without what was read for it.
    pub fn of_the_result(self) -> Self {
        Self { result_rows: self.result_rows, elapsed_seconds: self.elapsed_seconds, ..Self::default() }
    }
}

impl Add for Progress {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            read_rows: self.read_rows + more.read_rows,
            read_bytes: self.read_bytes + more.read_bytes,
            written_rows: self.written_rows + more.written_rows,
            written_bytes: self.written_bytes + more.written_bytes,
            result_rows: self.result_rows + more.result_rows,
            elapsed_seconds: self.elapsed_seconds + more.elapsed_seconds,
        }
    }
}

/// The bytes of a result in the format that was asked for, or one part of them.
#[derive(Debug)]
pub struct QueryResult {
    pub bytes: Vec<u8>,
    pub progress: Progress,
}

/// A statement's named parameters (`{name:Type}`), values in ClickHouse's escaped text form.
pub type Parameters = [(String, String)];

/// What a text would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Analysis {
    /// How many statements it holds; 0 when it cannot be parsed.
    pub statements: u32,
    pub only_reads: bool,
}

/// The C form of an [`Analysis`]: `chdb_query_analysis_v1`.
#[repr(C)]
pub struct RawAnalysis {
    struct_size: u32,
    statement_count: u32,
    flags: u32,
    query_class: u32,
}

impl RawAnalysis {
    /// `CHDB_QUERY_READ_ONLY`: the statement leaves no trace, not even outside the database.
    const READ_ONLY: u32 = 0;

    /// To be filled by the library, which leaves it as it is when it refuses.
    pub fn empty() -> Self {
        let struct_size = u32::try_from(size_of::<Self>()).expect("four numbers");
        Self { struct_size, statement_count: 0, flags: 0, query_class: u32::MAX }
    }

    pub fn read(&self) -> Analysis {
        Analysis { statements: self.statement_count, only_reads: self.query_class == Self::READ_ONLY }
    }
}

/// Why the engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot load the ClickHouse library")]
    Load { source: libloading::Error },
    #[error("the path {path} holds a zero byte")]
    Path { path: String },
    #[error("the ClickHouse engine refused to start (its reason is printed above)")]
    Refused,
}

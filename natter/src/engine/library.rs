//! The ClickHouse library (`libchdb.so`) behind a safe interface.
//!
//! This is the only file of the project with unsafe code. The C interface is chDB's `chdb.h` (26.7): opaque handles, lengths beside every pointer,
//! error texts owned by the handle that they belong to. What keeps it sound here:
//!
//! - a [`Connection`] borrows the [`Engine`], a stream borrows its `Connection` mutably, so nothing outlives what it points into and a connection runs
//!   one statement at a time, as the library demands;
//! - handles are raw pointers, so connections and streams are neither `Send` nor `Sync`: each lives and dies on one thread;
//! - every handle is freed in exactly one place, a `Drop`;
//! - the library is never unloaded: its threads and thread-local destructors would run in unmapped memory.
#![expect(
    unsafe_code,
    reason = "the ClickHouse library has a C interface; every call is wrapped here and nowhere else"
)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use super::errors::EngineError;
use super::results::{Analysis, OpenError, Parameters, Progress, QueryResult, RawAnalysis};

type RawConnection = *mut c_void;
type RawResult = *mut c_void;
type RawInsert = *mut c_void;
type Text = *const c_char;
type Sizes = *const usize;
/// A statement with its parameters: connection, SQL, format, then names and values with their lengths, and their count.
type StartStatement<T> =
    unsafe extern "C" fn(RawConnection, Text, usize, Text, usize, *const Text, Sizes, *const Text, Sizes, usize) -> T;

macro_rules! c_interface {
    ($($symbol:ident: $signature:ty,)*) => {
        /// The C functions that Natter uses, under their own names.
        struct Api { $($symbol: $signature,)* }

        impl Api {
            /// # Safety
            /// `library` must be chDB's library, whose functions have the signatures given here, and must stay loaded.
            unsafe fn load(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the caller vouches for the signatures and that the library stays loaded.
                unsafe { Ok(Self { $($symbol: *library.get::<$signature>(concat!(stringify!($symbol), "\0").as_bytes())?,)* }) }
            }
        }
    };
}

c_interface! {
    chdb_set_signal_handlers_enabled: unsafe extern "C" fn(c_int),
    chdb_connect: unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut RawConnection,
    chdb_close_conn: unsafe extern "C" fn(*mut RawConnection),
    chdb_query_with_params_n: StartStatement<RawResult>,
    chdb_stream_query_with_params_n: StartStatement<RawResult>,
    chdb_stream_insert_with_params_n: StartStatement<RawInsert>,
    chdb_stream_fetch_result: unsafe extern "C" fn(RawConnection, RawResult) -> RawResult,
    chdb_stream_cancel_query: unsafe extern "C" fn(RawConnection, RawResult),
    chdb_stream_append: unsafe extern "C" fn(RawInsert, *const c_void, usize) -> c_int,
    chdb_stream_done: unsafe extern "C" fn(RawInsert) -> RawResult,
    chdb_stream_insert_error: unsafe extern "C" fn(RawInsert) -> Text,
    chdb_destroy_insert_stream: unsafe extern "C" fn(RawInsert),
    chdb_destroy_query_result: unsafe extern "C" fn(RawResult),
    chdb_result_buffer: unsafe extern "C" fn(RawResult) -> *const u8,
    chdb_result_length: unsafe extern "C" fn(RawResult) -> usize,
    chdb_result_error: unsafe extern "C" fn(RawResult) -> Text,
    chdb_result_elapsed: unsafe extern "C" fn(RawResult) -> f64,
    chdb_result_rows_read: unsafe extern "C" fn(RawResult) -> u64,
    chdb_result_storage_rows_read: unsafe extern "C" fn(RawResult) -> u64,
    chdb_result_storage_bytes_read: unsafe extern "C" fn(RawResult) -> u64,
    chdb_result_rows_written: unsafe extern "C" fn(RawResult) -> u64,
    chdb_result_bytes_written: unsafe extern "C" fn(RawResult) -> u64,
    chdb_classify_query_n: unsafe extern "C" fn(RawConnection, Text, usize, Text, usize, *mut RawAnalysis) -> c_int,
    chdb_shutdown: unsafe extern "C" fn() -> c_int,
}

/// The one engine of this process, on one folder. Dropping it closes the folder; the process cannot open another afterwards.
pub struct Engine {
    api: Api,
    arguments: Vec<CString>,
    anchor: Anchor,
}

/// A connection that keeps the engine alive while no statement runs: the engine shuts down with its last connection.
struct Anchor(*mut RawConnection);

// SAFETY: the pointer is never used for a statement; it is only handed to `chdb_close_conn`, once, when the engine is dropped, and that function may
// be called on any thread.
unsafe impl Send for Anchor {}
// SAFETY: as above; a shared reference offers nothing.
unsafe impl Sync for Anchor {}

impl Engine {
    /// Loads the library and opens the folder `store`, with the server settings of `config_file`.
    ///
    /// # Errors
    /// When the library cannot be loaded, lacks a function, or the engine refuses the folder (it prints the reason to standard error).
    pub fn open(library: &Path, store: &Path, config_file: &Path) -> Result<Self, OpenError> {
        // SAFETY: loading runs the initialisers of ClickHouse's own library, which is made to be loaded so. The operator names the file, as he names
        // every other program that `natter` starts.
        let loaded = unsafe { libloading::Library::new(library) }.map_err(|source| OpenError::Load { source })?;
        // SAFETY: the signatures are those of chdb.h, and the library stays loaded (forgotten below).
        let api = unsafe { Api::load(&loaded) }.map_err(|source| OpenError::Load { source })?;
        std::mem::forget(loaded);
        let arguments = vec![
            c"natter".to_owned(),
            path_argument("--path=", store)?,
            path_argument("--config-file=", config_file)?,
            // An answered insert is a stored insert.
            c"--async_insert=0".to_owned(),
        ];
        // SAFETY: takes a plain flag. Natter handles its own signals, so the library must leave them alone; the call has to come before the first connection.
        unsafe { (api.chdb_set_signal_handlers_enabled)(0) };
        let anchor = Anchor(connect(&api, &arguments).ok_or(OpenError::Refused)?);
        Ok(Self { api, arguments, anchor })
    }

    /// A new connection, with a session of its own: current database, settings, temporary tables. Costs about 0.2 ms.
    ///
    /// # Errors
    /// When the engine refuses, which it does after a failed shutdown only.
    pub fn connect(&self) -> Result<Connection<'_>, EngineError> {
        let handle = connect(&self.api, &self.arguments)
            .ok_or_else(|| EngineError::internal("the engine refused a connection"))?;
        Ok(Connection { engine: self, handle })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: the anchor is open (never closed elsewhere), and no other connection is left, since each borrows the engine.
        unsafe { (self.api.chdb_close_conn)(self.anchor.0) };
        // SAFETY: takes nothing. When it cannot stop every thread it says so and changes nothing; the end of the process reaps them.
        if unsafe { (self.api.chdb_shutdown)() } != 0 {
            tracing::debug!("the engine's threads end with the process");
        }
    }
}

fn path_argument(option: &str, path: &Path) -> Result<CString, OpenError> {
    CString::new([option.as_bytes(), path.as_os_str().as_bytes()].concat())
        .map_err(|_| OpenError::Path { path: path.display().to_string() })
}

fn connect(api: &Api, arguments: &[CString]) -> Option<*mut RawConnection> {
    let mut pointers: Vec<*mut c_char> =
        arguments.iter().map(|argument| argument.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect();
    let count = c_int::try_from(arguments.len()).ok()?;
    // SAFETY: `pointers` holds `count` NUL-terminated strings and a final null, as `main` gets them; the library copies what it keeps and writes to none.
    let handle = unsafe { (api.chdb_connect)(count, pointers.as_mut_ptr()) };
    // SAFETY: a pointer that is not null points to the connection that was just made, which no one else has seen.
    (!handle.is_null() && !unsafe { *handle }.is_null()).then_some(handle)
}

/// A session of the engine. It stays on the thread that opened it.
pub struct Connection<'engine> {
    engine: &'engine Engine,
    handle: *mut RawConnection,
}

impl Connection<'_> {
    /// Runs one statement of any kind and returns its whole result.
    ///
    /// # Errors
    /// ClickHouse's own.
    pub fn query(&mut self, sql: &[u8], format: &str, parameters: &Parameters) -> Result<QueryResult, EngineError> {
        let handle = self.start(self.engine.api.chdb_query_with_params_n, sql, format, parameters);
        ResultHandle { api: &self.engine.api, handle }.take()
    }

    /// Starts a `SELECT` whose result comes in parts, each a document of its own in `format` (with its header, where the format has one).
    ///
    /// # Errors
    /// ClickHouse's own; see [`EngineError::is_not_streamable`] for statements that are not selects.
    pub fn select(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<SelectStream<'_>, EngineError> {
        let handle = self.start(self.engine.api.chdb_stream_query_with_params_n, sql, format, parameters);
        let head = ResultHandle { api: &self.engine.api, handle };
        head.check()?;
        Ok(SelectStream { connection: self.raw(), head, ended: false, _session: PhantomData })
    }

    /// Starts an `INSERT` (no `FORMAT` in `sql`) whose rows follow in parts, cut anywhere.
    ///
    /// # Errors
    /// ClickHouse's own: unknown table, column or setting.
    pub fn insert(
        &mut self,
        sql: &[u8],
        format: &str,
        parameters: &Parameters,
    ) -> Result<InsertStream<'_>, EngineError> {
        let handle = self.start(self.engine.api.chdb_stream_insert_with_params_n, sql, format, parameters);
        let stream = InsertStream { api: &self.engine.api, handle, _session: PhantomData };
        stream.error().map_or(Ok(stream), Err)
    }

    /// What the engine's parser says about `sql`, without running it.
    pub fn analyse(&self, sql: &[u8]) -> Analysis {
        let mut raw = RawAnalysis::empty();
        let (text, length) = (sql.as_ptr().cast(), sql.len());
        // SAFETY: the connection is open, `text` is valid for its length, no target database is given, and `raw` says its own size.
        unsafe { (self.engine.api.chdb_classify_query_n)(self.raw(), text, length, ptr::null(), 0, &raw mut raw) };
        raw.read()
    }

    fn raw(&self) -> RawConnection {
        // SAFETY: `handle` was checked when it was made and is freed in `drop` only.
        unsafe { *self.handle }
    }

    fn start<T>(&self, statement: StartStatement<T>, sql: &[u8], format: &str, parameters: &Parameters) -> T {
        let names: Vec<Text> = parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect();
        let name_lengths: Vec<usize> = parameters.iter().map(|(name, _)| name.len()).collect();
        let values: Vec<Text> = parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let value_lengths: Vec<usize> = parameters.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: the connection is open and runs no other statement (streams borrow it mutably). Every pointer is valid for the length beside it until
        // the call returns, and the library copies what it keeps. All three functions of this type always return a handle, never null.
        unsafe {
            statement(
                self.raw(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                names.as_ptr(),
                name_lengths.as_ptr(),
                values.as_ptr(),
                value_lengths.as_ptr(),
                parameters.len(),
            )
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and no stream is left on it, since each borrows the connection.
        unsafe { (self.engine.api.chdb_close_conn)(self.handle) };
    }
}

/// A result handle, freed on drop.
struct ResultHandle<'engine> {
    api: &'engine Api,
    handle: RawResult,
}

impl ResultHandle<'_> {
    fn check(&self) -> Result<(), EngineError> {
        // SAFETY: the handle lives; the text belongs to it and is copied before it can be freed.
        unsafe { error_text((self.api.chdb_result_error)(self.handle)) }.map_or(Ok(()), Err)
    }

    fn take(self) -> Result<QueryResult, EngineError> {
        self.check()?;
        let (api, handle) = (self.api, self.handle);
        // SAFETY: the handle lives until `self` is dropped at the end; these functions only read from it.
        let (buffer, length) = unsafe { ((api.chdb_result_buffer)(handle), (api.chdb_result_length)(handle)) };
        let bytes = if buffer.is_null() || length == 0 {
            Vec::new()
        } else {
            // SAFETY: the library promises `length` readable bytes at `buffer` for as long as the handle lives; they are copied here.
            unsafe { std::slice::from_raw_parts(buffer, length) }.to_vec()
        };
        // SAFETY: as above, plain reads of numbers.
        let progress = unsafe {
            Progress {
                read_rows: (api.chdb_result_storage_rows_read)(handle),
                read_bytes: (api.chdb_result_storage_bytes_read)(handle),
                written_rows: (api.chdb_result_rows_written)(handle),
                written_bytes: (api.chdb_result_bytes_written)(handle),
                result_rows: (api.chdb_result_rows_read)(handle),
                elapsed_seconds: (api.chdb_result_elapsed)(handle),
            }
        };
        Ok(QueryResult { bytes, progress })
    }
}

impl Drop for ResultHandle<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from the library, is freed here only, and may be null by contract.
        unsafe { (self.api.chdb_destroy_query_result)(self.handle) };
    }
}

/// A running `SELECT`. Dropping it cancels what has not been fetched.
pub struct SelectStream<'connection> {
    connection: RawConnection,
    head: ResultHandle<'connection>,
    ended: bool,
    _session: PhantomData<&'connection mut ()>,
}

impl SelectStream<'_> {
    /// The next part, or `None` at the end.
    ///
    /// # Errors
    /// ClickHouse's own; the stream has ended then.
    pub fn fetch(&mut self) -> Result<Option<QueryResult>, EngineError> {
        if self.ended {
            return Ok(None);
        }
        // SAFETY: the connection is borrowed for this stream's life, and `head` is the live handle of its running statement.
        let handle = unsafe { (self.head.api.chdb_stream_fetch_result)(self.connection, self.head.handle) };
        let part = ResultHandle { api: self.head.api, handle }.take();
        self.ended = !matches!(&part, Ok(part) if !part.bytes.is_empty());
        Ok(Some(part?).filter(|part| !part.bytes.is_empty()))
    }
}

impl Drop for SelectStream<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: as in `fetch`; cancelling leaves freeing `head` to its own drop.
            unsafe { (self.head.api.chdb_stream_cancel_query)(self.connection, self.head.handle) };
        }
    }
}

/// A running `INSERT`. Dropping it unfinished cancels it: blocks that the engine has already written stay, as in any ClickHouse.
pub struct InsertStream<'connection> {
    api: &'connection Api,
    handle: RawInsert,
    _session: PhantomData<&'connection mut ()>,
}

impl InsertStream<'_> {
    /// Hands over the next bytes; blocks while the engine is behind.
    ///
    /// # Errors
    /// ClickHouse's own: the rows do not parse, or could not be written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        // SAFETY: the handle lives, and `bytes` is valid for its length; the library copies it before it returns.
        let state = unsafe { (self.api.chdb_stream_append)(self.handle, bytes.as_ptr().cast(), bytes.len()) };
        if state == 0 {
            return Ok(());
        }
        // The reason is on the handle only once the engine's thread has ended, which finishing waits for.
        Err(self
            .error()
            .or_else(|| self.done().err())
            .unwrap_or_else(|| EngineError::internal("the insert was refused without a reason")))
    }

    /// Ends the rows and waits until they are stored.
    ///
    /// # Errors
    /// ClickHouse's own.
    pub fn finish(self) -> Result<Progress, EngineError> {
        self.done().map(|result| result.progress)
    }

    fn done(&self) -> Result<QueryResult, EngineError> {
        // SAFETY: the handle lives; a second call is answered with an error result.
        let handle = unsafe { (self.api.chdb_stream_done)(self.handle) };
        ResultHandle { api: self.api, handle }.take()
    }

    fn error(&self) -> Option<EngineError> {
        // SAFETY: the handle lives; the text belongs to it and is copied at once.
        unsafe { error_text((self.api.chdb_stream_insert_error)(self.handle)) }
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle came from the library and is freed here only; an unfinished insert is cancelled by this call.
        unsafe { (self.api.chdb_destroy_insert_stream)(self.handle) };
    }
}

/// # Safety
/// `text` must be null or a NUL-terminated string that lives for this call.
unsafe fn error_text(text: *const c_char) -> Option<EngineError> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    Some(EngineError::parse(&unsafe { CStr::from_ptr(text) }.to_string_lossy()))
}

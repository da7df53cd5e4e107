//! The lines of a text. However long a line is, at most [`LINE_BYTES_MAX`] bytes of it are held.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use encoding_rs::Encoding;
use natter_schemas::error::ErrorCode;

use super::bytes;
use super::line::Refusal;

/// The longest line that is read, in bytes: a message of the greatest length, all of it escaped, and then some.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A line without its end, or why it cannot be read.
pub type Text = Result<String, Refusal>;

/// The lines of a file, with their numbers from 1.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    path: PathBuf,
    encoding: Option<&'static Encoding>,
    number: u64,
}

impl Lines {
    /// Begins to read.
    ///
    /// # Errors
    /// The file cannot be opened or unpacked.
    pub fn open(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<Self> {
        Ok(Self { reader: bytes::open(path, encoding)?, path: path.to_owned(), encoding, number: 0 })
    }

    /// The number of the last line that was read; 0: none.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next line; `None` after the last.
    ///
    /// # Errors
    /// The file cannot be read any further.
    pub fn next(&mut self) -> anyhow::Result<Option<(u64, Text)>> {
        let cannot_read = || format!("cannot read {}", self.path.display());
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX as u64 + 1);
        if limited.read_until(b'\n', &mut bytes).with_context(cannot_read)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() > LINE_BYTES_MAX {
            let length = bytes.len() as u64 + rest_of_line(&mut self.reader).with_context(cannot_read)?;
            let message = format!("the line has {length} bytes, at most {LINE_BYTES_MAX} are allowed");
            return Ok(Some((self.number, Err(Refusal { code: ErrorCode::TooLarge, message }))));
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        Ok(Some((self.number, String::from_utf8(bytes).map_err(|error| self.not_text(&error)))))
    }

    fn not_text(&self, error: &std::string::FromUtf8Error) -> Refusal {
        let offset = error.utf8_error().valid_up_to();
        let message = match self.encoding {
            Some(encoding) if encoding != encoding_rs::UTF_8 => {
                format!(
                    "not {}: what stands at byte {offset} of the converted line cannot be converted",
                    encoding.name()
                )
            }
            _ => {
                let byte = error.as_bytes().get(offset).copied().unwrap_or_default();
                format!(
                    "not UTF-8: byte 0x{byte:02X} at offset {offset} of the line; where the file is of another encoding, \
                     name it, such as --encoding windows-1252"
                )
            }
        };
        Refusal { code: ErrorCode::InvalidFrame, message }
    }
}

/// Passes over the rest of a line: how many bytes it was, without its end.
fn rest_of_line(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let mut passed = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(passed);
        }
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            reader.consume(end + 1);
            return Ok(passed + end as u64);
        }
        let all = buffer.len();
        reader.consume(all);
        passed += all as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], label: Option<&str>) -> Vec<(u64, Text)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h");
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Lines::open(&path, label.map(|label| bytes::encoding(label).unwrap())).unwrap();
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn texts(bytes: &[u8], label: Option<&str>) -> Vec<String> {
        read(bytes, label).into_iter().map(|(_, line)| line.unwrap()).collect()
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(texts(b"a\r\nb", None), ["a", "b"]);
        assert_eq!(texts(b"\xEF\xBB\xBFa\nb\n", None), ["a", "b"]);
        assert_eq!(texts(b"\xEF\xBB\xBFa\nb\n", Some("utf-8")), ["a", "b"]);
        let utf_16: Vec<u8> = "\u{feff}é\nb".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(texts(&utf_16, None), ["é", "b"]);
        assert_eq!(texts(&utf_16[2..], Some("utf-16le")), ["é", "b"]);
        let utf_16: Vec<u8> = "\u{feff}é\nb".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(texts(&utf_16, None), ["é", "b"]);
    }

    #[test]
    fn utf_16_without_a_mark_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h");
        std::fs::write(&path, "{}{}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        let error = Lines::open(&path, None).err().unwrap().to_string();
        assert!(error.contains("--encoding utf-16le"), "{error}");
    }

    #[test]
    fn other_encodings_are_converted() {
        assert_eq!(texts(b"ren\xe9\nren\xe8", Some("windows-1252")), ["ren\u{e9}", "ren\u{e8}"]);
        assert_eq!(texts(b"\x93x\x94", Some("iso-8859-1")), ["\u{201c}x\u{201d}"]);
        assert_eq!(texts(b"\xa4", Some("iso-8859-15")), ["\u{20ac}"]);
        let lines = read(b"ok\n\x81\xff\nok", Some("shift_jis"));
        assert!(lines[0].1.is_ok() && lines[2].1.is_ok());
        assert!(lines[1].1.as_ref().unwrap_err().message.contains("not Shift_JIS"), "{lines:?}");
        let long = "é".repeat(300_000);
        let encoded: Vec<u8> = long.chars().map(|_| 0xE9).collect();
        assert_eq!(texts(&encoded, Some("latin1")), [long]);
        assert!(bytes::encoding("latin-99").unwrap_err().contains("`latin-99` is no encoding"));
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_refused_by_offset() {
        let lines = read(b"ren\xc3\xa9\nren\xe9\nlast", None);
        assert_eq!((lines[0].0, lines[0].1.as_deref()), (1, Ok("ren\u{e9}")));
        let refusal = lines[1].1.as_ref().unwrap_err();
        assert!(refusal.message.starts_with("not UTF-8: byte 0xE9 at offset 3"), "{refusal:?}");
        assert_eq!(lines[2], (3, Ok("last".to_owned())));
    }

    #[test]
    fn a_line_that_is_too_long_is_refused_alone() {
        let mut text = vec![b'x'; LINE_BYTES_MAX + 5];
        text.extend(b"\nnext\n");
        text.extend(vec![b'y'; LINE_BYTES_MAX * 3]);
        let lines = read(&text, None);
        let refusal = lines[0].1.as_ref().unwrap_err();
        assert_eq!(refusal.code, ErrorCode::TooLarge);
        assert!(refusal.message.contains(&format!("has {} bytes", LINE_BYTES_MAX + 5)), "{refusal:?}");
        assert_eq!(lines[1], (2, Ok("next".to_owned())));
        assert_eq!(lines.len(), 3);
        assert_eq!(texts(&vec![b'x'; LINE_BYTES_MAX], None)[0].len(), LINE_BYTES_MAX);
    }
}

//! The bytes of a file as text: unpacked, converted to UTF-8, without a byte order mark.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use anyhow::{Context, bail};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// How files begin that are packed by zstd, and by gzip.
const ZSTD: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const GZIP: [u8; 2] = [0x1F, 0x8B];
const BUFFER_BYTES: usize = 1 << 18;
/// A byte that is never part of UTF-8: it stands for what cannot be converted, so that its line is refused.
const UNCONVERTIBLE: u8 = 0xFF;

/// A file's text. Packed or not, with or without a byte order mark, it is the same.
///
/// # Errors
/// It cannot be opened or unpacked, or is UTF-16 and does not say so.
pub fn open(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut reader = unpacked(path)?;
    // A pipe may give three bytes in as many reads; a file and a decoder give them at once, or there are fewer.
    let begins = reader.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    let marked = Encoding::for_bom(begins);
    if encoding.is_none() && marked.is_none() && looks_like_utf_16(begins) {
        bail!(
            "{} looks like UTF-16 without a byte order mark: name it by --encoding utf-16le or utf-16be",
            path.display()
        );
    }
    match encoding.or(marked.map(|(encoding, _)| encoding)) {
        None => Ok(reader),
        Some(encoding) if encoding == UTF_8 => {
            if let Some((_, mark)) = marked.filter(|(marked, _)| *marked == UTF_8) {
                reader.consume(mark);
            }
            Ok(reader)
        }
        Some(encoding) => {
            let decoded =
                Decoded { reader, decoder: encoding.new_decoder_with_bom_removal(), text: Vec::new(), ended: false };
            Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoded)))
        }
    }
}

/// The encoding with this label (<https://encoding.spec.whatwg.org/#names-and-labels>).
///
/// # Errors
/// There is none.
pub fn encoding(label: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        format!(
            "`{label}` is no encoding that is known; there are utf-8, utf-16le, utf-16be, windows-1250 to windows-1258, \
             iso-8859-1 to iso-8859-16, koi8-r, macintosh, shift_jis, euc-jp, euc-kr, gbk, gb18030, big5 and more \
             (https://encoding.spec.whatwg.org/#names-and-labels)"
        )
    })
}

fn unpacked(path: &Path) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut begins = [0; 4];
    let read = file.read(&mut begins).with_context(|| format!("cannot read {}", path.display()))?;
    file.rewind().with_context(|| format!("cannot read {}", path.display()))?;
    if begins[..read].starts_with(&GZIP) {
        bail!("{} is packed by gzip: unpack it, or pack it by zstd", path.display());
    }
    let is_zstd = begins[..read] == ZSTD;
    if path.extension().is_some_and(|extension| extension == "zst") && !is_zstd {
        bail!("{} is not packed by zstd, as its name says", path.display());
    }
    if is_zstd {
        let decoder =
            zstd::stream::read::Decoder::new(file).with_context(|| format!("cannot unpack {}", path.display()))?;
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder)))
    } else {
        Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file)))
    }
}

/// Text in Latin letters and JSON's signs has a zero in every other byte.
fn looks_like_utf_16(begins: &[u8]) -> bool {
    matches!(begins, [0, 1..=127, 0, 1..=127, ..] | [1..=127, 0, 1..=127, 0, ..])
}

/// Converts as it is read.
struct Decoded<R> {
    reader: R,
    decoder: Decoder,
    /// Converted and not read yet, last byte first.
    text: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Decoded<R> {
    fn decode(&mut self) -> std::io::Result<()> {
        let bytes = self.reader.fill_buf()?;
        let is_last = bytes.is_empty();
        let space = self.decoder.max_utf8_buffer_length_without_replacement(bytes.len());
        let mut text = vec![0; space.unwrap_or(BUFFER_BYTES).clamp(16, BUFFER_BYTES)];
        let (result, read, mut written) = self.decoder.decode_to_utf8_without_replacement(bytes, &mut text, is_last);
        self.reader.consume(read);
        match result {
            DecoderResult::InputEmpty => self.ended = is_last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(..) => {
                text.truncate(written);
                text.push(UNCONVERTIBLE);
                written = text.len();
            }
        }
        text.truncate(written);
        text.reverse();
        self.text = text;
        Ok(())
    }
}

impl<R: BufRead> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.text.is_empty() && !self.ended {
            self.decode()?;
        }
        let read = self.text.len().min(buffer.len());
        for (byte, taken) in buffer.iter_mut().zip(self.text.drain(self.text.len() - read..).rev()) {
            *byte = taken;
        }
        Ok(read)
    }
}

//! ClickHouse's compressed blocks, as `compress=1` and `decompress=1` exchange them.
//!
//! A block is 16 bytes of checksum (CityHash128 of version 1.0.2 over all that follows, its two halves swapped), one byte of method, the compressed
//! size with these 9 bytes of header, the uncompressed size (both u32, little-endian), and the data.
//! Source: ClickHouse's documentation of the native format, "Compressed block".

use bytes::{Buf, Bytes, BytesMut};

use super::errors::{EngineError, code};

const CHECKSUM_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
/// The largest block accepted, compressed or not; ClickHouse itself writes 1 MiB.
const BLOCK_BYTES_MAX: usize = 64 << 20;
/// How many bytes go into one block that Natter writes.
const BLOCK_BYTES: usize = 1 << 20;

const METHOD_NONE: u8 = 0x02;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;

/// Compresses `bytes` into blocks (LZ4).
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() / 2 + CHECKSUM_BYTES + HEADER_BYTES);
    for part in bytes.chunks(BLOCK_BYTES) {
        let data = lz4_flex::block::compress(part);
        let start = out.len();
        out.extend_from_slice(&[0; CHECKSUM_BYTES]);
        out.push(METHOD_LZ4);
        out.extend_from_slice(&size_field(data.len() + HEADER_BYTES));
        out.extend_from_slice(&size_field(part.len()));
        out.extend_from_slice(&data);
        let checksum = checksum(&out[start + CHECKSUM_BYTES..]);
        out[start..start + CHECKSUM_BYTES].copy_from_slice(&checksum);
    }
    out
}

fn size_field(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a block of 1 MiB stays far below 4 GiB").to_le_bytes()
}

fn checksum(block: &[u8]) -> [u8; CHECKSUM_BYTES] {
    cityhash_rs::cityhash_102_128(block).rotate_right(64).to_le_bytes()
}

/// Takes compressed bytes, cut anywhere, and gives back uncompressed blocks.
#[derive(Debug, Default)]
pub struct Decompressor {
    pending: BytesMut,
}

impl Decompressor {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole block, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// A wrong checksum, an unknown method, a block above 64 MiB, data that does not decompress.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, EngineError> {
        let Some(mut header) = self.pending.get(CHECKSUM_BYTES..CHECKSUM_BYTES + HEADER_BYTES) else { return Ok(None) };
        let method = header.get_u8();
        let compressed = usize::try_from(header.get_u32_le()).map_err(|_| refused("a size above this machine's"))?;
        let uncompressed = usize::try_from(header.get_u32_le()).map_err(|_| refused("a size above this machine's"))?;
        if compressed < HEADER_BYTES || compressed.max(uncompressed) > BLOCK_BYTES_MAX {
            return Err(refused(format!(
                "block sizes {compressed} and {uncompressed} are not between 9 bytes and 64 MiB"
            )));
        }
        if self.pending.len() < CHECKSUM_BYTES + compressed {
            return Ok(None);
        }
        let block = self.pending.split_to(CHECKSUM_BYTES + compressed).freeze();
        if checksum(&block[CHECKSUM_BYTES..]) != block[..CHECKSUM_BYTES] {
            return Err(refused("the checksum of a block does not match: corrupted data"));
        }
        decompress(method, block.slice(CHECKSUM_BYTES + HEADER_BYTES..), uncompressed).map(Some)
    }

    /// Whether bytes of an unfinished block are left.
    pub fn is_within_block(&self) -> bool {
        !self.pending.is_empty()
    }
}

fn decompress(method: u8, data: Bytes, uncompressed: usize) -> Result<Bytes, EngineError> {
    let bytes = match method {
        METHOD_NONE => data,
        METHOD_LZ4 => lz4_flex::block::decompress(&data, uncompressed).map_err(refused)?.into(),
        METHOD_ZSTD => zstd::bulk::decompress(&data, uncompressed).map_err(refused)?.into(),
        other => return Err(refused(format!("unknown compression method {other:#04x}"))),
    };
    if bytes.len() != uncompressed {
        return Err(refused(format!("a block holds {} bytes where its header says {uncompressed}", bytes.len())));
    }
    Ok(bytes)
}

fn refused(text: impl std::fmt::Display) -> EngineError {
    EngineError::new(code::CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", format!("cannot decompress: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decompress_all(compressed: &[u8], step: usize) -> Result<Vec<u8>, EngineError> {
        let (mut decompressor, mut out) = (Decompressor::default(), Vec::new());
        for part in compressed.chunks(step) {
            decompressor.push(part);
            while let Some(block) = decompressor.next_block()? {
                out.extend_from_slice(&block);
            }
        }
        assert!(!decompressor.is_within_block());
        Ok(out)
    }

    #[test]
    fn blocks_round_trip_however_they_are_cut() {
        let bytes: Vec<u8> = (0..2_500_000_u32).map(|number| (number / 7 % 251) as u8).collect();
        let compressed = compress(&bytes);
        assert!(compressed.len() < bytes.len());
        for step in [1009, 65_536, compressed.len()] {
            assert!(decompress_all(&compressed, step).expect("round trip") == bytes, "step {step}");
        }
        assert!(compress(b"").is_empty());
    }

    /// Two blocks written by ClickHouse 26.7: the columns' files of a table with one string.
    #[test]
    fn blocks_of_clickhouse_are_read() {
        let text = "9e1b20136bd69a1ebe04d0eeedf92ce682190000001b0000007b6e6174746572200700506174746572";
        let number = "639cfe65a2ba1bfec214d1c8ec156a87821200000008000000801b00000000000000";
        let blocks = hex::decode([text, number].concat()).expect("hex");
        assert_eq!(decompress_all(&blocks, 3).expect("blocks"), b"natter natter natter natter\x1b\0\0\0\0\0\0\0");
    }

    #[test]
    fn broken_blocks_are_refused() {
        let mut flipped = compress(b"hello hello hello hello");
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        assert!(decompress_all(&flipped, 64).expect_err("checksum").message.contains("checksum"));
        let mut huge = compress(b"hello");
        huge[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decompress_all(&huge, 64).expect_err("size").code, code::CANNOT_DECOMPRESS);
    }
}

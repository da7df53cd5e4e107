//! Bytes in the log are for ever (invariant 11): the encoding of every variant ever written, committed as hex in
//! `golden/v2.txt`, is what this binary writes and reads.
//!
//! A new variant gets a line of its own by `NATTER_WRITE_GOLDEN=1 cargo test -p natter-schemas --test golden`, which
//! only ever appends. A line that is there never changes: what it stands for may be in somebody's log.

mod arbitrary;
mod values;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use bincode::{BorrowDecode, Encode};
use natter_schemas::codec::{self, CodecError, CommandBatch, OutcomeBatch};
use natter_schemas::event::placed;

/// Name and hex of every golden value.
fn committed() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, bytes) = line.split_once(' ').expect("name, space, hex");
            (name.to_owned(), hex::decode(bytes).expect("hex"))
        })
        .collect()
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v2.txt")
}

/// Adds lines for values that have none.
fn append_missing(values: &[(String, Vec<u8>)]) {
    use std::io::Write as _;
    let known = committed();
    let mut out = std::fs::File::options().create(true).append(true).open(file()).expect("golden file");
    if known.is_empty() {
        writeln!(out, "# The log's encoding, version 2: name and hex. Lines are added, never changed.")
            .expect("golden file");
    }
    for (name, bytes) in values.iter().filter(|(name, _)| !known.contains_key(name)) {
        writeln!(out, "{name} {}", hex::encode(bytes)).expect("golden file");
    }
}

#[test]
fn every_variant_is_written_and_read_as_it_always_was() {
    let goldens = values::all();
    let encoded: Vec<_> = goldens.iter().map(|golden| (golden.name(), golden.encode())).collect();
    if std::env::var_os("NATTER_WRITE_GOLDEN").is_some() {
        append_missing(&encoded);
    }
    let committed = committed();
    for (golden, (name, bytes)) in goldens.iter().zip(&encoded) {
        let Some(known) = committed.get(name) else {
            panic!("`{name}` has no golden bytes; see the head of this file")
        };
        assert_eq!(hex::encode(bytes), hex::encode(known), "`{name}` is written otherwise than before");
        golden.check_decodes(known);
    }
    let current: Vec<_> = encoded.iter().map(|(name, _)| name).collect();
    for name in committed.keys() {
        assert!(current.contains(&name), "`{name}` was written once and is no longer tested");
    }
}

/// Whatever a value is, its own bytes and nothing shorter or longer decode to it.
fn check<T: for<'a> BorrowDecode<'a, ()> + Encode + PartialEq + Debug>(value: &T, bytes: &[u8]) {
    assert_eq!(codec::decode::<T>("golden value", bytes).as_ref(), Ok(value));
    for end in 0..bytes.len() {
        assert!(codec::decode::<T>("prefix", &bytes[..end]).is_err(), "{end} of {} bytes of {value:?}", bytes.len());
    }
    let longer = [bytes, &[0]].concat();
    assert!(codec::decode::<T>("longer", &longer).is_err(), "a byte more than {value:?}");
}

#[test]
fn every_prefix_of_a_command_batch_is_an_error() {
    let bytes = values::command_batch();
    for end in 0..bytes.len() {
        assert!(CommandBatch::decode(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    assert!(CommandBatch::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn every_prefix_of_an_outcome_batch_is_an_error() {
    let bytes = values::outcome_batch();
    for end in 0..bytes.len() {
        let read = OutcomeBatch::decode(&bytes[..end]).and_then(|batch| batch.records().map(|records| records.len()));
        assert!(read.is_err(), "{end} of {} bytes: {read:?}", bytes.len());
        assert!(placed(3, 9, &bytes[..end]).is_err());
    }
    assert!(placed(3, 9, &[&bytes[..], &[0]].concat()).is_err());
}

/// Invariant 11: an unknown version names itself, before anything else is looked at.
#[test]
fn another_version_is_named() {
    for version in [0, 1, 3, 255] {
        let error = CodecError::Version { found: version };
        assert_eq!(CommandBatch::decode(&[version]), Err(error.clone()));
        assert_eq!(OutcomeBatch::decode(&[version, 1, 2, 3]), Err(error.clone()));
        assert!(error.to_string().contains(&version.to_string()));
    }
}

/// Invariant 11: a record that does not decode costs only itself.
#[test]
fn one_undecodable_record_does_not_hide_the_others() {
    let mut writer = codec::CommandBatchWriter::default();
    let command = values::command(natter_schemas::command::Origin::Client, values::bodies().remove(0));
    writer.push(&codec::encode(&command));
    writer.push(&[0xff; 3]);
    writer.push(&codec::encode(&command));
    let (header, bytes) = writer.finish(7, 8);
    let read = CommandBatch::decode(&bytes).expect("a batch");
    assert_eq!((read.header, read.commands), (header, vec![Ok(command.clone()), Err(vec![0xff; 3]), Ok(command)]));
}

/// Damage anywhere is an error or other values, never a panic or a huge allocation.
#[test]
fn a_flipped_bit_never_panics() {
    for batch in [values::command_batch(), values::outcome_batch()] {
        for at in 0..batch.len() {
            for bit in 0..8 {
                let mut damaged = batch.clone();
                damaged[at] ^= 1 << bit;
                // Either result will do.
                CommandBatch::decode(&damaged).ok();
                placed(0, 1, &damaged).ok();
            }
        }
    }
}

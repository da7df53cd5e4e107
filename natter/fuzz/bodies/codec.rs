//! The log's bytes: a damaged batch is an error, never more memory or a panic, and what is read is written the same.

use natter_schemas::codec::{self, CommandBatch, OutcomeBatch};
use natter_schemas::command::Command;
use natter_schemas::event::{placed, touched};
use natter_schemas::outcome::Outcome;

pub fn run(data: &[u8]) {
    if let Ok(batch) = CommandBatch::decode(data) {
        assert_eq!(batch.commands.len(), batch.header.records as usize);
        for command in batch.commands.into_iter().flatten() {
            let again: Command = codec::decode("command", &codec::encode(&command)).expect("what was encoded");
            assert_eq!(again, command);
            // What a processor asks of every command.
            let _slot = command.slot();
        }
    }
    if let Ok(batch) = OutcomeBatch::decode(data) {
        let (_, _, _) = (batch.header.command_sequence(), batch.header.log_ms(), batch.header.records());
        for raw in batch.records().into_iter().flatten() {
            if let Ok(outcome) = raw.decode() {
                let again: Outcome = codec::decode("outcome", &codec::encode(&outcome)).expect("what was encoded");
                assert_eq!(again, outcome);
            }
        }
    }
    for placed in placed(3, 7, data).into_iter().flatten() {
        let (_event, _touched) = (placed.event(), touched(&placed.outcome));
    }
}

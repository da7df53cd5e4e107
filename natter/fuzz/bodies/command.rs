//! What clients send as JSON: what is taken holds its limits and survives the log, and what is refused is told in few words.

use natter_schemas::codec;
use natter_schemas::command::Body;
use natter_schemas::limits::FRAME_ID_BYTES_MAX;
use natter_schemas::wire::client::{ClientFrame, parse};

/// An error's message repeats little of what was sent.
const MESSAGE_BYTES_MAX: usize = 2000;

pub fn run(data: &[u8]) {
    match parse(data) {
        Ok(ClientFrame::Command(command)) => {
            assert!(command.id.len() <= FRAME_ID_BYTES_MAX);
            let stored: Body = codec::decode("body", &codec::encode(&command.body)).expect("what was encoded");
            assert_eq!(stored, command.body);
        }
        Ok(ClientFrame::Signal { .. }) => {}
        Err(error) => {
            assert!(error.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", error.message.len());
            assert!(error.id.is_none_or(|id| id.len() <= FRAME_ID_BYTES_MAX));
        }
    }
}

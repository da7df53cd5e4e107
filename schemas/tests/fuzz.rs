//! The bodies of this crate's fuzz targets over their corpora (docs/fuzzing.md).

#[path = "../../natter/fuzz/bodies/codec.rs"]
mod codec;
#[path = "../../natter/fuzz/bodies/command.rs"]
mod command;
#[path = "../../natter/fuzz/bodies/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn the_logs_codec_takes_its_corpus() {
    replay("codec", codec::run);
}

#[test]
fn commands_take_their_corpus() {
    replay("command", command::run);
}

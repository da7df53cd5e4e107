//! The bodies of this crate's fuzz targets over their corpora (docs/fuzzing.md).

#[path = "../../natter/fuzz/bodies/frames.rs"]
mod frames;
#[path = "../../natter/fuzz/bodies/head.rs"]
mod head;
#[path = "../../natter/fuzz/bodies/replay.rs"]
mod replay;
#[path = "../../natter/fuzz/bodies/token.rs"]
mod token;

use replay::replay;

#[test]
fn the_frame_reader_takes_its_corpus() {
    replay("frames", frames::run);
}

#[test]
fn the_head_of_a_request_takes_its_corpus() {
    replay("head", head::run);
}

#[test]
fn tokens_take_their_corpus() {
    replay("token", token::run);
}

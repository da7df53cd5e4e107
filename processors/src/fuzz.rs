//! The body of this crate's fuzz target over its corpus (docs/fuzzing.md).

#[path = "../../natter/fuzz/bodies/filter.rs"]
mod filter;
#[path = "../../natter/fuzz/bodies/replay.rs"]
mod replay;

#[test]
fn the_filter_takes_its_corpus() {
    replay::replay("filter", filter::run);
}

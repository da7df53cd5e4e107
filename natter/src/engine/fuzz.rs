//! The body of this module's fuzz target over its corpus (docs/fuzzing.md).

#[path = "../../fuzz/bodies/engine.rs"]
mod body;
#[path = "../../fuzz/bodies/replay.rs"]
mod replay;

#[test]
fn the_engines_front_takes_its_corpus() {
    replay::replay("engine", body::run);
}

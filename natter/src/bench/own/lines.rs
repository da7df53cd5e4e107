//! A history to be imported: as many lines as are wanted, the same for the same seed of nothing at all.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::Context;
use serde_json::json;

/// Each room has one writer of so many messages, so that no sender reaches a limit of refs.
const OF_A_ROOM: u64 = 1000;

/// The room that the first line makes.
pub const FIRST_ROOM: &str = "bench-start-0";
/// Who writes in it.
pub const FIRST_USER: &str = "bench-start-0";

/// Writes a file of so many lines.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, messages: u64) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for number in 0..messages {
        let (room, minute) = (number / OF_A_ROOM, number % OF_A_ROOM);
        let line = json!({
            "room": format!("bench-start-{room}"),
            "user": format!("bench-start-{room}"),
            "at": format!("2025-01-{:02}T{:02}:{:02}:00Z", 1 + minute / 60 / 24, minute / 60 % 24, minute % 60),
            "text": format!("message {number} of a log that a start has behind it"),
        });
        writeln!(file, "{line}")?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_one_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        write(&path, 2500).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let (first, last) = (text.lines().next().unwrap(), text.lines().last().unwrap());
        assert_eq!(text.lines().count(), 2500);
        assert!(first.contains(&format!("\"room\":\"{FIRST_ROOM}\"")) && first.contains("2025-01-01T00:00"), "{first}");
        assert!(last.contains("\"room\":\"bench-start-2\"") && last.contains("2025-01-01T08:19"), "{last}");
    }
}

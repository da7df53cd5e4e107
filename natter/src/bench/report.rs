//! What a bench prints: for people and as JSON, always with the machine and the settings.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;

/// The report of one mode.
#[derive(Debug, Clone, Serialize)]
pub struct Report<R> {
    /// Which mode.
    pub mode: &'static str,
    /// On what.
    pub machine: Machine,
    /// One for each rate, or whatever the mode repeats.
    pub runs: Vec<R>,
}

impl<R: fmt::Display> fmt::Display for Report<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "natter bench {}\n{}", self.mode, self.machine)?;
        self.runs.iter().try_for_each(|run| write!(f, "\n\n{run}"))
    }
}

/// A table whose columns are as wide as they must be: the first to the left, the others to the right.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A table's head.
pub fn head<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

/// `12,345`
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [head(["", "count", "ms"]), head(["answered", "12", "1.50"])];
        assert_eq!(table(&rows), "            count    ms\n  answered     12  1.50");
    }

    #[test]
    fn thousands_are_grouped() {
        let shown = [0.4, 999.0, 1000.0, 1_234_567.0, -1000.0].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "-1,000"]);
    }
}

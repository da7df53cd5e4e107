//! The cases as the documentation shows them.

use std::fmt::Write as _;

use super::case::Group;

/// The table stands behind this line, to the file's end.
const MARK: &str = "<!-- from here on written by the tests -->\n";

/// `written` with the table as it should be.
pub fn render(written: &str, groups: &[Group]) -> String {
    let (text, _) = written.split_once(MARK).expect("docs/bad-input.md has the line behind which the table stands");
    let mut out = format!("{text}{MARK}");
    for Group { name, about, cases } in groups {
        write!(
            out,
            "\n## {name}\n\n{about}\n\n| what is sent | what is answered | what counts it |\n| --- | --- | --- |\n"
        )
        .expect("text");
        for case in cases {
            let cell = |text: String| text.replace('|', "\\|");
            writeln!(out, "| {} | {} | `{}` |", cell(case.sent.into()), cell(case.told.shown()), case.told.metric())
                .expect("text");
        }
    }
    out
}

//! Embeds the page: every file of `page/` that a browser is to get, as a table of name and bytes.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What is served; anything else in the folder (tests, editor's leftovers) is not.
const SERVED: [&str; 5] = ["html", "css", "js", "svg", "png"];

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let page = Path::new(&manifest).join("page");
    println!("cargo::rerun-if-changed={}", page.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&page)
        .expect("gateway/page is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| SERVED.iter().any(|served| extension == *served)));
    files.sort();
    let mut table = String::from("&[\n");
    for path in files {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_name().and_then(|name| name.to_str()).expect("names are ASCII");
        let path = path.to_str().expect("the checkout's path is UTF-8");
        writeln!(table, "    ({name:?}, include_bytes!({path:?})),").expect("memory");
    }
    table.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("page.rs");
    fs::write(out, table).expect("the output folder can be written");
}

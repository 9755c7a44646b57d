//! The man page is generated from the command line's definitions. `UPDATE=1 cargo test -p ctflow-tools --test man`
//! writes it; otherwise a stale page fails.

use std::path::Path;

#[test]
fn the_man_page_of_conntrackd_is_fresh() {
    let page = clap_mangen::Man::new(tools::conntrackd::flags::command())
        .section("8")
        .date("2026-11-23")
        .manual("ctflow");
    let mut text = Vec::new();
    page.render(&mut text).unwrap();
    check("docs/man/conntrackd.8", &text);
}

fn check(path: &str, wanted: &[u8]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&file, wanted).expect("the repository can be written");
    }
    let found = std::fs::read(&file).unwrap_or_default();
    let update = "UPDATE=1 cargo test -p ctflow-tools --test man";
    assert!(found == wanted, "{path} is stale: {update}");
}

//! Man pages and completions are generated from the command lines' definitions. `UPDATE=1 cargo test -p ctflow-tools --test man`
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

#[test]
fn the_man_page_of_ctflow_is_fresh() {
    let page = clap_mangen::Man::new(tools::ctflow::command())
        .section("8")
        .date("2026-11-23")
        .manual("ctflow");
    let mut text = Vec::new();
    page.render(&mut text).unwrap();
    // Sub-commands have no pages of their own; theirs follow here.
    let command = tools::ctflow::command();
    let nested = |verb: &clap::Command| {
        let name = verb.get_name().to_owned();
        let below = verb
            .get_subcommands()
            .map(move |below| (format!("{name} {}", below.get_name()), below.clone()));
        below.collect::<Vec<_>>()
    };
    let verbs = command.get_subcommands().flat_map(|verb| {
        std::iter::once((verb.get_name().to_owned(), verb.clone())).chain(nested(verb))
    });
    for (name, verb) in verbs {
        let title = name.to_uppercase();
        text.extend_from_slice(format!(".SH {title}\n").as_bytes());
        let page = clap_mangen::Man::new(verb.clone());
        page.render_description_section(&mut text).unwrap();
        page.render_options_section(&mut text).unwrap();
        if verb.get_after_help().is_some() {
            let mut extra = Vec::new();
            page.render_extra_section(&mut extra).unwrap();
            // Its lines must stay lines.
            let extra =
                String::from_utf8(extra).unwrap().replacen(".SH EXTRA\n", ".SH EXTRA\n.nf\n", 1);
            text.extend_from_slice(format!("{extra}.fi\n").as_bytes());
        }
    }
    let text = String::from_utf8(text).unwrap();
    let (head, rest) = text.split_at(text.find(".TH").unwrap());
    check("docs/man/ctflow.8", (head.to_owned() + &rest.replace(head, "")).as_bytes());
}

#[test]
fn the_man_page_of_conntrack_is_fresh() {
    let page = clap_mangen::Man::new(tools::conntrack::usage::command())
        .section("8")
        .date("2026-11-24")
        .manual("ctflow");
    let mut text = Vec::new();
    page.render(&mut text).unwrap();
    check("docs/man/conntrack.8", &text);
}

#[test]
fn the_man_page_of_nfct_is_fresh() {
    let page = clap_mangen::Man::new(tools::nfct::usage::command())
        .section("8")
        .date("2026-11-28")
        .manual("ctflow");
    let mut text = Vec::new();
    page.render(&mut text).unwrap();
    // Sub-commands have no pages of their own, and the page must not refer to any.
    let text = String::from_utf8(text).unwrap().replace("nfct\\-", "nfct ").replace("(8)", "");
    check("docs/man/nfct.8", text.as_bytes());
}

#[test]
fn the_completions_are_fresh() {
    use clap_complete::{Shell, generate};
    let ours = tools::ctflow::command();
    for mut command in [tools::conntrack::usage::command(), tools::nfct::usage::command(), ours] {
        let name = command.get_name().to_owned();
        for (shell, file) in [
            (Shell::Bash, format!("{name}.bash")),
            (Shell::Zsh, format!("_{name}")),
            (Shell::Fish, format!("{name}.fish")),
        ] {
            let mut text = Vec::new();
            generate(shell, &mut command, &name, &mut text);
            check(&format!("contrib/completions/{file}"), &text);
        }
    }
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

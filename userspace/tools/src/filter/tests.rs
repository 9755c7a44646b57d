use super::*;
use crate::filter::world::World;
use engine::query::{Program, arbitrary};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// A machine that is the same everywhere.
#[derive(Default)]
struct Fixed {
    files: BTreeMap<&'static str, String>,
}

impl Fixed {
    fn new() -> Self {
        let files = [
            ("hosts", "# those\n10.0.0.1\n\n10.0.1.0/24 # a network\n2001:db8::1\n"),
            ("ports", "80\n443\n8000-8080\nhttp\n"),
            ("empty", "\n# nothing\n"),
            ("wrong", "10.0.0.1\n10.0.0.300\n"),
            ("crowded", "10.0.0.1 10.0.0.2\n"),
        ];
        Self { files: files.map(|(name, text)| (name, text.to_owned())).into() }
    }
}

impl World for Fixed {
    fn service(&mut self, name: &str) -> Vec<u16> {
        match name.to_lowercase().as_str() {
            "http" | "www" => vec![80],
            "https" => vec![443],
            "ftp-data" => vec![20],
            "both" => vec![7, 9],
            _ => Vec::new(),
        }
    }

    fn nearest_service(&mut self, name: &str) -> Option<String> {
        error::nearest(name, ["http", "www", "https", "ftp-data", "both"])
    }

    fn label(&mut self, name: &str) -> Option<u8> {
        (name == "quick").then_some(3)
    }

    fn file(&mut self, path: &str) -> Result<String, String> {
        self.files.get(path).cloned().ok_or_else(|| "no such file".into())
    }
}

/// What the parser makes of an expression, as the table has it: the normal form, or the error with column and length.
fn outcome(text: &str) -> String {
    match parse(text, &Limits::TYPED, &mut Fixed::new()) {
        Ok(parsed) => format!("= {}", print(&parsed.expr)),
        Err(error) => {
            let (kind, column, len) = (error.kind.name(), error.column(text), error.len(text));
            format!("! {kind} {column}+{len}: {}", error.kind)
        }
    }
}

/// `tests/expressions.txt` is test and document. `UPDATE=1` writes what comes out now: read what has changed.
#[test]
fn every_expression_of_the_table_is_understood_as_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/filter/tests/expressions.txt");
    let table = fs::read_to_string(path).unwrap();
    let mut out = String::new();
    let mut count = 0;
    for line in table.lines() {
        match line.chars().next() {
            Some(' ') => continue,
            None | Some('#') => writeln!(out, "{line}").unwrap(),
            Some(_) => {
                count += 1;
                let text = if line == "(nothing)" { "" } else { line };
                writeln!(out, "{line}\n    {}", outcome(text)).unwrap();
            }
        }
    }
    assert!(count >= 200, "{count} expressions");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, &out).unwrap();
    } else {
        for (is, was) in out.lines().zip(table.lines()) {
            assert_eq!(is, was);
        }
        assert_eq!(out.len(), table.len());
    }
}

/// Every word that a term may begin with is in the table, and so is every kind of error.
#[test]
fn the_table_leaves_out_no_word_and_no_error() {
    let table = include_str!("tests/expressions.txt");
    let words: Vec<_> = table.split(|c: char| c.is_whitespace() || "(){},".contains(c)).collect();
    let measures = engine::query::Measure::ALL.iter().map(|(name, _)| *name);
    let names = value::PROTOCOLS.iter().map(|(name, _)| *name);
    let states = value::STATUS.iter().map(|(name, _)| *name);
    for word in term::WORDS.into_iter().chain(measures).chain(names).chain(states) {
        assert!(words.contains(&word), "{word} is not in the table");
    }
    for kind in [
        "empty",
        "unexpected",
        "unknown-word",
        "bad-address",
        "bad-prefix",
        "bad-port",
        "bad-number",
        "out-of-range",
        "bad-unit",
        "mixed-and-or",
        "unbalanced",
        "family-mixed",
        "set-unreadable",
        "set-empty",
        "bad-option",
    ] {
        assert!(table.contains(&format!("! {kind} ")), "{kind} is not in the table");
    }
}

#[test]
fn limits_are_refused_by_name() {
    let kind =
        |text: &str, limits: &Limits| parse(text, limits, &mut Fixed::new()).unwrap_err().kind;
    let typed = &Limits::TYPED;
    assert!(matches!(kind(&"tcp ".repeat(20_000), typed), Kind::TooLong("64 KiB of text")));
    assert!(matches!(kind(&"tcp ".repeat(5_000), typed), Kind::TooLong("4,096 terms")));
    let nested = |depth| format!("{}tcp{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(kind(&nested(65), typed), Kind::TooDeep);
    assert_eq!(kind(&"! ".repeat(65), typed), Kind::TooDeep);
    let deepest = parse(&nested(64), typed, &mut Sealed).unwrap();
    assert!(Program::new(&deepest.expr).is_ok());
    let small = Limits { values_max: 3, ..Limits::TYPED };
    assert!(matches!(kind("port 1,2 and port 3,4", &small), Kind::TooLong(_)));
    assert!(matches!(kind("port @ports", &small), Kind::TooLong(_)));
}

/// Levels of the tree that the parser lets through are levels that the program takes.
#[test]
fn whatever_is_parsed_can_be_compiled() {
    let mut text = "tcp".to_owned();
    for level in 0..64 {
        let word = if level % 2 == 0 { "and" } else { "or" };
        text = format!("(udp {word} {text})");
    }
    let text = format!("ip and {}", text.replacen("(udp or", "(ip or", 1));
    let parsed = parse(&text, &Limits::TYPED, &mut Sealed).unwrap();
    assert!(Program::new(&parsed.expr).is_ok());
}

#[test]
fn a_set_that_is_empty_is_taken_if_it_may_be() {
    let limits = Limits { allow_empty: true, ..Limits::TYPED };
    let parsed = parse("src @empty", &limits, &mut Fixed::new()).unwrap();
    assert_eq!(print(&parsed.expr), "src {}");
    assert_eq!(parse("src {}", &Limits::NORMAL, &mut Sealed).unwrap().expr, parsed.expr);
}

#[test]
fn what_can_never_be_known_is_refused_at_its_place() {
    let text = "tcp and bytes > 1M";
    let parsed = parse(text, &Limits::TYPED, &mut Sealed).unwrap();
    let error = parsed.check(|term| engine::query::gap(term).map(|_| "because")).unwrap_err();
    assert_eq!((error.column(text), error.len(text)), (9, 10));
    assert_eq!(error.kind, Kind::NotKnown("because"));
    assert_eq!(parsed.check(|_| None), Ok(()));
}

#[test]
fn errors_point_at_the_place_and_help() {
    let text = "dst port htpp";
    let error = parse(text, &Limits::TYPED, &mut Fixed::new()).unwrap_err();
    let shown = error.render(text, false);
    for piece in ["dst port htpp", "^^^^", "did you mean `http`?", "filter:1:10"] {
        assert!(shown.contains(piece), "{piece}: {shown}");
    }
    let json = r#"{"error":{"column":10,"kind":"bad-port","len":4,"text":"#;
    assert!(error.to_json(text).starts_with(json), "{}", error.to_json(text));
    // Columns are characters, not bytes.
    let text = "helper \"äöü\" prot";
    let error = parse(text, &Limits::TYPED, &mut Sealed).unwrap_err();
    assert_eq!((error.column(text), error.len(text)), (14, 4));
}

#[test]
fn the_other_spelling_says_the_same_and_back() {
    for (options, filter) in [
        ("-s 10.0.0.0/8 -p tcp --dport 443", "tcp and src 10.0.0.0/8 and dst port 443"),
        ("-w 5 -m 1/3", "mark 0x1/0x3 and zone 5"),
        ("-u ASSURED,UNREPLIED", "assured and not replied"),
        ("-p tcp --state ESTABLISHED", "tcp and state established"),
        ("-g 10.0.0.1:80", "dnat 10.0.0.1:80"),
        ("-j", "anynat"),
        ("-f ipv6 -d 2001:db8::1", "ip6 and dst 2001:db8::1"),
        ("-r 1.2.3.4 -q 5.6.7.8", "reply src 1.2.3.4 and reply dst 5.6.7.8"),
    ] {
        let parsed = parse(options, &Limits::TYPED, &mut Sealed).unwrap();
        assert_eq!(print(&parsed.expr), filter, "{options}");
        let Some(back) = spelling::as_options(&parsed.expr) else {
            assert!(filter.contains("state"), "{filter}");
            continue;
        };
        let again = parse(&back, &Limits::TYPED, &mut Sealed).unwrap();
        assert_eq!(print(&again.expr), filter, "{options} became {back}");
    }
    for not_sayable in ["tcp or udp", "port 80", "bytes > 1", "zone 1-2", "src 10.0.0.1-10.0.0.9"] {
        let parsed = parse(not_sayable, &Limits::TYPED, &mut Sealed).unwrap();
        assert_eq!(spelling::as_options(&parsed.expr), None, "{not_sayable}");
    }
    assert!(parse("-s 1.2.3.4", &Limits::NORMAL, &mut Sealed).is_err(), "not over a socket");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn the_normal_form_parses_to_the_same_tree(expr in arbitrary::expr()) {
        let text = print(&expr);
        let parsed = parse(&text, &Limits::NORMAL, &mut Sealed);
        let parsed = parsed.map_err(|error| TestCaseError::fail(error.render(&text, false)))?;
        prop_assert_eq!(&parsed.expr, &expr, "{}", text);
        let mut terms = 0;
        expr.for_each_term(&mut |_| terms += 1);
        prop_assert_eq!(parsed.spans.len(), terms);
    }

    #[test]
    fn any_text_is_understood_or_refused_at_a_place_in_it(text in "[ -~äß]{0,60}") {
        if let Err(error) = parse(&text, &Limits::TYPED, &mut Fixed::new()) {
            prop_assert!(error.span.end <= text.len() && error.span.start <= error.span.end);
            prop_assert!(text.is_char_boundary(error.span.start) && text.is_char_boundary(error.span.end));
        }
    }
}

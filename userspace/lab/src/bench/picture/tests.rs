//! Pictures: what must be true of them whatever they show.

use super::{COLORS, MARGIN, Report, WIDTH, draw, keys, panels, places, round_up, wide};
use serde_json::{Value, json};

const NAMES: [&str; 7] =
    ["nobody", "original", "netlink", "tap", "hook", "conntrack-E", "a-source-of-the-future"];

/// A report of two figures at these sizes, the first with a goal.
fn report(sizes: &[&str]) -> Report {
    let entry = |figure: &str, better: &str, size: &str, (at, name): (usize, &&str)| {
        json!({
            "figure": figure, "title": "kept < all & some", "unit": "us", "better": better, "case": size,
            "flows": 1000, "subject": name, "median": 0.37 * at as f64, "min": 0.3 * at as f64,
            "max": 0.41 * at as f64, "ratio": null, "goal": (figure == "kept").then_some(1.9),
            "met": (figure == "kept").then_some(at > 4),
        })
    };
    let entries = |figure, better| {
        let of_size = move |size: &&str| {
            let names = NAMES.iter().enumerate();
            names.map(|name| entry(figure, better, size, name)).collect::<Vec<Value>>()
        };
        sizes.iter().flat_map(of_size).collect::<Vec<Value>>()
    };
    let figures = [entries("kept", "higher"), entries("cpu", "lower")].concat();
    let text = json!({
        "schema": 1, "version": "0", "command": [], "began_s": 0, "generator": "", "repetitions": 1,
        "machine": {
            "kernel": "6.1 <a> & b",
            "cpu": "a name of a processor that its maker wants to be read ".repeat(3),
            "cpus": 2,
            "memory_mb": 1,
            "conntrack_buckets": 1,
            "load": "0.1",
        },
        "scenarios": [{
            "name": "churn", "title": "flows", "disturbed": 0, "failures": [], "figures": figures, "samples": []
        }],
    });
    Report::parse(&text.to_string()).expect("the format we write")
}

/// What every element needs: its end, and no bare sign in its text.
fn is_well_formed(svg: &str) -> bool {
    let mut open = Vec::new();
    for part in svg.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else { return false };
        if text.contains('>') {
            return false;
        }
        match tag.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            None if !tag.ends_with('/') => open.push(tag.split(' ').next().unwrap_or(tag)),
            _ => {}
        }
    }
    open.is_empty()
}

/// Texts of a picture, with where each begins.
fn texts(svg: &str) -> Vec<(f64, f64, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split('"').next()?.parse::<f64>().ok()
    };
    let text = |part: &str| {
        let (tag, rest) = part.split_once('>')?;
        let text = rest.split('<').next()?.trim();
        let signs = [("&lt;", "<"), ("&gt;", ">"), ("&apos;", "'"), ("&amp;", "&")];
        let text =
            signs.iter().fold(text.to_owned(), |text, (code, sign)| text.replace(code, sign));
        Some((attribute(tag, "x")?, attribute(tag, "y")?, text))
    };
    svg.split("<text").skip(1).filter_map(text).collect()
}

#[test]
fn pictures_are_well_formed_and_show_every_subject() {
    for sizes in [&["1 k flows"][..], &["1 k flows", "10 k flows"]] {
        let svg = draw(&report(sizes)).unwrap();
        assert!(is_well_formed(&svg), "{svg}");
        assert!(svg.contains("6.1 &lt;a&gt; &amp; b") && svg.contains("kept &lt; all"));
        for (_, color) in &COLORS[..5] {
            let code = format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2);
            assert!(svg.matches(&code).count() > 1, "{code} in legend and picture");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}

#[test]
fn axes_say_which_way_is_better() {
    let svg = draw(&report(&["1 k flows", "10 k flows"])).unwrap();
    let said = |what: &str| texts(&svg).iter().filter(|(.., text)| text == what).count();
    assert_eq!((said("more is better"), said("less is better")), (1, 1));
}

#[test]
fn ticks_are_round() {
    let svg = draw(&report(&["1 k flows"])).unwrap();
    let ticks = texts(&svg).into_iter().filter_map(|(_, _, text)| text.parse::<f64>().ok());
    // The values of bars are numbers, too.
    let ticks: Vec<f64> = ticks.filter(|tick| (tick * 100.0).rem_euclid(37.0) > 1e-6).collect();
    assert!(ticks.len() > 3, "{ticks:?}");
    let round = |tick: &f64| (tick / 0.5).fract().abs() < 1e-9;
    assert!(ticks.iter().all(round), "{ticks:?}");
}

#[test]
fn the_top_of_an_axis_is_round_and_just_above_what_it_shows() {
    for (value, top) in
        [(0.37, 0.4), (1.0, 1.0), (1.01, 1.2), (730_000.0, 800_000.0), (9.5, 10.0), (0.3, 0.3)]
    {
        assert!((round_up(value) / top - 1.0).abs() < 1e-9, "{value}: {}", round_up(value));
    }
    assert_eq!((round_up(0.0), round_up(f64::NAN)), (1.0, 1.0), "no axis is empty");
}

#[test]
fn the_legend_stays_on_the_page_and_its_keys_apart() {
    let report = report(&["1 k flows"]);
    let keys = keys(&panels(&report));
    assert!(keys.iter().any(|key| key == "goal") && keys.len() > NAMES.len(), "{keys:?}");
    let places = places(&keys);
    let ends = |at: usize| places[at].0 + 18 + wide(&keys[at], 12);
    for at in 0..keys.len() {
        assert!(ends(at) + 2 * MARGIN <= WIDTH, "{} leaves the page", keys[at]);
        let next = places.get(at + 1);
        let apart = next.is_none_or(|(x, y)| *y > places[at].1 || *x > ends(at));
        assert!(apart, "{} is under the next one", keys[at]);
    }
    assert!(places.iter().any(|(_, y)| *y > 0), "so many keys take more than a line");
}

#[test]
fn nothing_is_written_beyond_the_page() {
    for sizes in [&["1 k flows"][..], &["1 k flows", "10 k flows"]] {
        let svg = draw(&report(sizes)).unwrap();
        let height = svg.split("height=\"").nth(1).and_then(|rest| rest.split('"').next());
        let height: f64 = height.expect("the page has a height").parse().unwrap();
        for (x, y, text) in texts(&svg) {
            // What stands at the ends of axes ends or has its middle where it is.
            let begins = svg
                .contains(&format!("<text x=\"{x}\" y=\"{y}\" dy=\"0.5ex\" text-anchor=\"start\""));
            let end = x + if begins { f64::from(wide(&text, 12)) } else { 0.0 };
            let inside = x > 0.0 && end < f64::from(WIDTH) && y > 0.0 && y < height;
            assert!(inside, "{text} at {x}, {y}");
        }
    }
}

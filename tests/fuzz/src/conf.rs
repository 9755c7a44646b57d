//! The configuration language.

use tools::conf::{Diagnostic, parse};
use tools::conntrackd::plan::Plan;

/// Any text is parsed without a panic, every complaint points at a piece of it and can be shown, and what is accepted
/// can be made a plan of, which differs in nothing from itself. Bytes that are no text are made one first.
///
/// # Panics
/// When that does not hold.
pub fn conf(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse(&text, "fuzz.conf") {
        Ok((conf, warnings)) => {
            warnings.iter().for_each(|warning| points_inside(warning, &text));
            let plan = Plan::from(&conf);
            let difference = plan.difference(&plan);
            assert_eq!(difference.lines(), [""; 0], "a reload of the same text changes nothing");
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "what is refused is refused with a reason");
            errors.iter().for_each(|error| points_inside(error, &text));
        }
    }
}

fn points_inside(diagnostic: &Diagnostic, text: &str) {
    let others = diagnostic.context.iter().map(|(span, _)| span);
    for span in others.chain([&diagnostic.span]) {
        let inside = text.get(span.start..span.end);
        assert!(inside.is_some(), "{span:?} of {} bytes: {diagnostic}", text.len());
    }
    assert!((1..=text.matches('\n').count() + 1).contains(&diagnostic.line()), "{diagnostic}");
    assert!(diagnostic.column() >= 1 && !diagnostic.message.is_empty(), "{diagnostic}");
    assert!(!diagnostic.one_line().contains('\n'), "{diagnostic}");
    assert!(!diagnostic.render(text, false).is_empty());
}

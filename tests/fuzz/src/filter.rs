//! The filter language.

use ctnetlink::Flow;
use ctnetlink::Tuple;
use ctnetlink::flow::Known;
use engine::query::{Program, Read, lower};
use tools::filter::{Limits, Sealed, World, parse, print};

/// Files that are the text itself, and no names.
struct Echo<'a>(&'a str);

impl World for Echo<'_> {
    fn service(&mut self, name: &str) -> Vec<u16> {
        Sealed.service(name)
    }

    fn nearest_service(&mut self, _: &str) -> Option<String> {
        None
    }

    fn label(&mut self, name: &str) -> Option<u8> {
        u8::try_from(name.len()).ok().filter(|bit| *bit < 128)
    }

    fn file(&mut self, _: &str) -> Result<String, String> {
        Ok(self.0.replace(' ', "\n"))
    }
}

/// Any text is a filter or an error at a place in it; a filter's normal form parses to the same tree, and its program
/// runs.
///
/// # Panics
/// When one of these does not hold.
pub fn filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // A map of labels is read where it is; not from a terminal.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let limits = Limits { allow_empty: data.len().is_multiple_of(2), ..Limits::TYPED };
    match parse(&text, &limits, &mut Echo(&text)) {
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len());
            assert!(error.column(&text) <= text.chars().count() + 1);
            let _ = (error.render(&text, false), error.to_json(&text));
        }
        Ok(parsed) => {
            let normal = print(&parsed.expr);
            let again = parse(&normal, &Limits::NORMAL, &mut Sealed);
            assert_eq!(again.map(|again| again.expr).as_ref(), Ok(&parsed.expr), "{normal}");
            let program =
                Program::new(&parsed.expr).expect("the parser has the limits of programs");
            let _ = lower(&parsed.expr);
            let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(1, 80);
            let flow = Flow { reply: orig.inverted(), known: Known::all(), ..Flow::new(orig) };
            let matches = program.matches(&Read { flow: &flow, now_ns: 0 });
            assert!(matches || !program.is_everything());
        }
    }
}

//! Command lines of `conntrack`, from a shell and from files for `-R`.

use ctnetlink::request::{self, IfExists, Source, Ticket};
use ctnetlink::{FlowView, Tuple, Writer};
use tools::conntrack::command::{self, Command};
use tools::conntrack::definition::Verb;
use tools::conntrack::filter::Filter;
use tools::conntrack::{act, wanted};

/// Words, one a line, are a command or an error, and a command can be carried out as far as no kernel is needed.
///
/// # Panics
/// When one of these does not hold.
pub fn argv(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // A map of labels is read where it is; not from a terminal.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let words: Vec<&str> = text.split('\n').collect();
    if let Ok(command) = command::parse(&words) {
        can_be_used(&command);
    }
}

/// Lines of a file for `-R` are commands, nothing, or errors.
///
/// # Panics
/// When one of these does not hold.
pub fn lines(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    for (number, line) in text.lines().enumerate() {
        if let Ok(Some(command)) = act::understand(number, line) {
            assert!(matches!(
                command.verb,
                Verb::Create | Verb::Add | Verb::Update | Verb::Delete | Verb::Flush
            ));
            can_be_used(&command);
        }
    }
}

fn can_be_used(command: &Command) {
    let mut w = Writer::counting();
    let filter = Filter::new(command);
    request::dump(&mut w, 1, Source::Table, &filter.selection());
    let orig = Tuple::v4([10, 0, 0, 1], [10, 0, 0, 2], 6).with_ports(1, 2);
    let flow = FlowView::default().with(|view| {
        view.orig = orig;
        view.reply = orig.inverted();
    });
    assert!(!filter.is_everything() || filter.passes(&flow), "all flows are meant, but not one");
    if matches!(command.verb, Verb::Create | Verb::Add)
        && let Ok(flow) = wanted::flow(command)
    {
        request::create(&mut w, Ticket::acked(1), &flow, IfExists::Fail);
        assert_eq!(flow.orig.family, command.family);
    }
    if let Ok(Some(flow)) = wanted::update(command, &flow) {
        request::update(&mut w, Ticket::acked(1), &flow);
    }
    request::delete_expectation(
        &mut w,
        Ticket::acked(1),
        &ctnetlink::FlowKey::new(wanted::expected(command), 0),
        None,
    );
}

//! What was asked: the filter, understood, and who can know the answer.

use super::Where;
use crate::ctflow::outcome::Fault;
use crate::filter::{self, Error, Limits, Parsed, System, parse};
use ctnetlink::Detail;
use ctnetlink::request::Selection;
use engine::query::{Expr, Gap, Measure, Op, Program, Quantity, Term, gap, lower};
use std::io::{self, IsTerminal};

/// A filter, ready to run.
#[derive(Debug)]
pub struct Asked {
    /// As it was written.
    pub text: String,
    /// The filter as it was parsed.
    pub parsed: Parsed,
    /// The filter as it was compiled.
    pub program: Program,
    /// What the kernel can pick by itself.
    pub selection: Selection,
    /// The configuration of the daemon to ask.
    pub config: Option<std::path::PathBuf>,
    /// Whether a namespace was named.
    pub netns: bool,
    /// Whether the flows of the peers are meant.
    pub remote: bool,
    kernel: bool,
}

impl Asked {
    /// Understands the words; enters the namespace.
    ///
    /// # Errors
    /// Wrong usage; a wrong filter has been shown then.
    pub fn new(options: &Where) -> Result<Self, Fault> {
        if let Some(name) = &options.netns {
            host::sys::enter_network_namespace(name)
                .map_err(|error| Fault::usage(format_args!("network namespace {name}: {error}")))?;
        }
        let text = options.filter.join(" ");
        let limits = Limits { allow_empty: options.allow_empty, ..Limits::TYPED };
        let parsed = parse(&text, &limits, &mut System::default());
        let parsed = parsed.map_err(|error| shown(&text, &error))?;
        let never = |term: &Term| match gap(term) {
            Some(Gap::Never(why)) => Some(why),
            _ => None,
        };
        parsed.check(never).map_err(|error| shown(&text, &error))?;
        let program =
            Program::new(&parsed.expr).map_err(|_| Fault::usage("the filter is too large"))?;
        let selection = lower(&parsed.expr);
        let (config, netns) = (options.config.clone(), options.netns.is_some());
        let kernel = options.kernel;
        Ok(Self { text, parsed, program, selection, config, netns, remote: false, kernel })
    }

    /// As [`Asked::new`], over the flows of the peers if `remote`.
    ///
    /// # Errors
    /// As [`Asked::new`], and where the filter needs the kernel, which does not hold them.
    pub fn of(options: &Where, remote: bool) -> Result<Self, Fault> {
        let asked = Self::new(options)?;
        match asked.needs_kernel().filter(|_| remote) {
            Some(why) => Err(Fault::usage(format_args!("--table remote: {why}"))),
            None => Ok(Self { remote, ..asked }),
        }
    }

    /// Why the daemon's table is not asked; `None` if it can be.
    #[must_use]
    pub fn needs_kernel(&self) -> Option<&'static str> {
        if self.kernel {
            return Some("as --kernel says");
        }
        let mut why = None;
        self.parsed.expr.for_each_term(&mut |term| match gap(term) {
            Some(Gap::Counters) => why = Some("only the kernel knows counters"),
            Some(Gap::Left) => why = Some("only the kernel knows how long flows have left"),
            _ => {}
        });
        why.or_else(|| {
            let bounded = least_ages_do(&self.parsed.expr, true);
            (!bounded).then_some("only the kernel knows when flows began")
        })
    }

    /// Refuses tests of fields that this kernel does not keep.
    ///
    /// # Errors
    /// A wrong filter, which has been shown.
    pub fn check_kernel(&self) -> Result<(), Fault> {
        let is_off = |name: &str| {
            let path = format!("/proc/sys/net/netfilter/{name}");
            std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
        };
        let missing = |term: &Term| match gap(term) {
            Some(Gap::Counters) if is_off("nf_conntrack_acct") => {
                Some("the kernel does not count (sysctl net.netfilter.nf_conntrack_acct is 0)")
            }
            Some(Gap::Began) if is_off("nf_conntrack_timestamp") => {
                Some("the kernel notes no times (sysctl net.netfilter.nf_conntrack_timestamp is 0)")
            }
            _ => None,
        };
        self.parsed.check(missing).map_err(|error| shown(&self.text, &error))
    }

    /// How much of each flow must be read.
    #[must_use]
    pub fn detail(&self) -> Detail {
        let mut detail = Detail::State;
        self.parsed.expr.for_each_term(&mut |term| {
            if matches!(gap(term), Some(Gap::Counters | Gap::Began)) {
                detail = Detail::Full;
            }
        });
        detail
    }
}

/// Whether every comparison with an age is one that a least age can make true.
fn least_ages_do(expr: &Expr, wanted: bool) -> bool {
    match expr {
        Expr::Everything => true,
        Expr::Not(inner) => least_ages_do(inner, !wanted),
        Expr::And(parts) | Expr::Or(parts) => parts.iter().all(|part| least_ages_do(part, wanted)),
        Expr::Term(Term::Quantity(Quantity { measure: Measure::Age, op, .. })) => match op {
            Op::Gt | Op::Ge => wanted,
            Op::Lt | Op::Le => !wanted,
            Op::Eq | Op::Ne => false,
        },
        Expr::Term(_) => true,
    }
}

/// Shows what is wrong with a filter.
#[must_use]
pub fn shown(text: &str, error: &Error) -> Fault {
    crate::stdout::settle();
    eprintln!("{}", error.render(text, io::stderr().is_terminal()));
    Fault::said()
}

/// What `--explain` says of a filter, a line each: name and text.
#[must_use]
pub fn explain(asked: &Asked) -> Vec<(&'static str, String)> {
    let normal = filter::print(&asked.parsed.expr);
    let mut out = vec![("filter", if normal.is_empty() { "(everything)".into() } else { normal })];
    out.push(("kernel", picked(&asked.selection)));
    let mut unknown = Vec::new();
    asked.parsed.expr.for_each_term(&mut |term| {
        if gap(term).is_some() {
            unknown.push(filter::print(&Expr::Term(term.clone())));
        }
    });
    out.push((
        "may be unknown",
        if unknown.is_empty() { "nothing".into() } else { unknown.join(", ") },
    ));
    let options = filter::spelling::as_options(&asked.parsed.expr);
    out.push(("conntrack", options.unwrap_or_else(|| "cannot say that".into())));
    let table = match asked.needs_kernel() {
        Some(why) => format!("no: {why}"),
        None => "yes".into(),
    };
    out.push(("from the table", table));
    out
}

/// What the kernel picks in a dump.
fn picked(selection: &Selection) -> String {
    let mut out = Vec::new();
    match selection.family {
        2 => out.push("family ipv4".to_owned()),
        10 => out.push("family ipv6".to_owned()),
        _ => {}
    }
    out.extend(selection.zone.map(|zone| format!("zone {zone}")));
    out.extend(selection.mark.map(|(value, mask)| format!("mark {value:#x}/{mask:#x}")));
    out.extend(selection.status.map(|(value, mask)| format!("status {value:#x}/{mask:#x}")));
    if selection.tuples.is_some() {
        out.push("addresses, protocol and ports".to_owned());
    }
    if out.is_empty() { "picks nothing: every flow is read".into() } else { out.join(", ") }
}

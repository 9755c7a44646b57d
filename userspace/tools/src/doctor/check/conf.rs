//! The configuration.

use super::super::facts::{Facts, Known, Part};
use super::{Check, Finding, Status, config, word};
use crate::conf::ModeConf;

pub(super) static CHECKS: [Check; 3] = [
    Check {
        id: "conf.check",
        title: "the configuration is right",
        looks_at: "the file",
        bad: &[(Status::Error, "the daemon would not start with it")],
        why: "the next start fails; a reload changes nothing",
        fix: "what the message says; `conntrackd --check` shows the place",
        parts: &[Part::Conf],
        at_start: true,
        run: check,
    },
    Check {
        id: "conf.hashlimit",
        title: "room for every flow of the kernel",
        looks_at: "HashLimit and nf_conntrack_max",
        bad: &[(Status::Warning, "HashLimit is less than nf_conntrack_max")],
        why: "flows that find no room in the daemon's table are not replicated: they break at a failover",
        fix: "HashLimit of twice nf_conntrack_max",
        parts: &[Part::Conf, Part::Sysctl],
        at_start: true,
        run: hash_limit,
    },
    Check {
        id: "conf.ignored",
        title: "every setting does what its author may think",
        looks_at: "warnings about the file",
        bad: &[(Status::Info, "settings that are deprecated, given twice, or without effect here")],
        why: "other programs may rely on them",
        fix: "remove them; `conntrackd --check` shows the places",
        parts: &[Part::Conf],
        at_start: true,
        run: ignored,
    },
];

fn path(facts: &Facts) -> String {
    word(&facts.conf.path.display().to_string())
}

fn check(facts: &Facts) -> Known<Finding> {
    let conf = &facts.conf;
    conf.text.as_ref().map_err(Clone::clone)?;
    let fix = format!("conntrackd --check {}", config(facts));
    if !conf.errors.is_empty() {
        return Ok(Finding::error(conf.errors.join("; ")).fix(fix));
    }
    Ok(match conf.refused.clone()? {
        Some(why) => Finding::error(format!("the daemon would not start: {why}")).fix(fix),
        None => Finding::ok("the daemon would start with it"),
    })
}

fn hash_limit(facts: &Facts) -> Known<Finding> {
    let conf = facts.conf.conf.as_ref().map_err(Clone::clone)?;
    if matches!(conf.mode, ModeConf::Helper) {
        return Ok(Finding::ok("no table of flows is kept"));
    }
    let (limit, max) = (u64::from(conf.general.hash_limit), facts.sysctl("nf_conntrack_max")?);
    if limit >= max {
        return Ok(Finding::ok(format!("HashLimit {limit}, nf_conntrack_max {max}")));
    }
    let found = format!("HashLimit {limit} is less than nf_conntrack_max {max}");
    let wanted = max.saturating_mul(2).min(u64::from(u32::MAX));
    let has_one = facts.conf.text.as_ref().is_ok_and(|text| text.contains("HashLimit"));
    let script = match has_one {
        true => format!(r"s/^([^#]*HashLimit[[:space:]]+)[0-9]+/\1{wanted}/"),
        false => format!(r"s/^([^#]*General[[:space:]]*\{{)/\1\n\tHashLimit {wanted}/"),
    };
    Ok(Finding::warning(found)
        .wanted("HashLimit of at least nf_conntrack_max")
        .fix(format!("sed -i -E {} {}", word(&script), path(facts)))
        .fix("# the flow tables are built again, and the peer is asked for its flows:")
        .fix("systemctl reload conntrackd"))
}

fn ignored(facts: &Facts) -> Known<Finding> {
    facts.conf.text.as_ref().map_err(Clone::clone)?;
    let warnings = &facts.conf.warnings;
    if warnings.is_empty() {
        return Ok(Finding::ok("there is no warning about it"));
    }
    let fix = format!("conntrackd --check {}", config(facts));
    Ok(Finding::info(warnings.join("; ")).fix(fix))
}

//! What the kernel can do.

use super::super::facts::{Facts, Known, Part};
use super::{Check, Finding, Status};

/// The tap needs an atomic exchange in eBPF.
const TAP_SINCE: (u32, u32) = (5, 12);
/// Rings between the kernel's programs and ours.
const RING_SINCE: (u32, u32) = (5, 8);
/// Programs at netfilter's hooks.
const HOOK_SINCE: (u32, u32) = (6, 4);

pub(super) static CHECKS: [Check; 6] = [
    Check {
        id: "kernel.version",
        title: "version of the kernel",
        looks_at: "uname -r",
        bad: &[
            (Status::Error, "older than 5.8: no ring buffers, so no eBPF source at all"),
            (Status::Warning, "older than 5.12: the tap cannot run"),
        ],
        why: "without the tap every event goes through the netlink socket, which costs more CPU and loses events under \
              bursts",
        fix: "a kernel of Debian bookworm (6.1) or newer",
        parts: &[Part::Kernel],
        at_start: false,
        run: version,
    },
    Check {
        id: "kernel.btf",
        title: "types of the kernel (BTF)",
        looks_at: "/sys/kernel/btf/vmlinux, and nf_conntrack where that is a module",
        bad: &[(Status::Warning, "absent: the hook and failure events cannot run")],
        why: "programs that read a flow in the kernel's memory take the places of its fields from there",
        fix: "a kernel built with DEBUG_INFO_BTF and DEBUG_INFO_BTF_MODULES, as those of distributions are",
        parts: &[Part::Kernel, Part::Modules],
        at_start: false,
        run: types,
    },
    Check {
        id: "kernel.tap",
        title: "the tap can be loaded",
        looks_at: "loads its program and lets it go; nothing is attached",
        bad: &[(Status::Warning, "the kernel, a right or this build refuses")],
        why: "`EventSource auto` falls back to netlink, which costs more CPU for each event",
        fix: "what the error names: a capability, lockdown, a security module, a build without the eBPF object",
        parts: &[Part::Kernel, Part::Programs],
        at_start: false,
        run: tap,
    },
    Check {
        id: "kernel.hook",
        title: "the hook can be loaded",
        looks_at: "loads its program and lets it go; nothing is attached",
        bad: &[
            (Status::Warning, "the configuration asks for the hook, and it is refused"),
            (Status::Info, "refused, and not configured"),
        ],
        why: "`EventSource hook` falls back to the tap",
        fix: "what the error names; or `EventSource auto`",
        parts: &[Part::Kernel, Part::Programs, Part::Conf],
        at_start: false,
        run: hook,
    },
    Check {
        id: "kernel.failures",
        title: "what it takes to tell of failures with their packet",
        looks_at: "kprobes and the functions they would probe (/proc/kallsyms); else version and types for the hook",
        bad: &[(Status::Warning, "neither is there: failures can only be counted")],
        why: "a packet that conntrack refuses can then not be named, only counted (`conntrack -S`)",
        fix: "a kernel with KPROBES, or 6.4 with BTF",
        parts: &[Part::Kernel],
        at_start: false,
        run: failures,
    },
    Check {
        id: "kernel.lockdown",
        title: "lockdown",
        looks_at: "/sys/kernel/security/lockdown",
        bad: &[(Status::Warning, "confidentiality: eBPF may not read the kernel's memory")],
        why: "the hook, and failure events with their packet, are refused",
        fix: "boot with lockdown=integrity",
        parts: &[Part::Kernel],
        at_start: false,
        run: lockdown,
    },
];

/// Major and minor number of a release.
fn number_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn version(facts: &Facts) -> Known<Finding> {
    let release = facts.kernel.release.as_ref().map_err(Clone::clone)?;
    let version = number_of(release).ok_or_else(|| format!("{release} is no version"))?;
    let fix = "# install a kernel of Debian bookworm (6.1) or newer";
    Ok(match version {
        old if old < RING_SINCE => {
            Finding::error(format!("Linux {release} has no ring buffers for eBPF")).fix(fix)
        }
        old if old < TAP_SINCE => {
            Finding::warning(format!("Linux {release} cannot run the tap")).fix(fix)
        }
        _ => return Ok(Finding::ok(format!("Linux {release}"))),
    }
    .wanted("5.12 or newer"))
}

fn types(facts: &Facts) -> Known<Finding> {
    if !facts.kernel.types.clone()? {
        let found = "the kernel says nothing of its types: there is no /sys/kernel/btf/vmlinux";
        return Ok(Finding::warning(found).fix("# take a kernel that is built with DEBUG_INFO_BTF"));
    }
    let is_module = facts.modules.loaded.clone()?.iter().any(|name| name == "nf_conntrack");
    if is_module && !facts.kernel.types_of_conntrack.clone()? {
        let found = "the module nf_conntrack says nothing of its types";
        let fix = "# take a kernel that is built with DEBUG_INFO_BTF_MODULES";
        return Ok(Finding::warning(found).fix(fix));
    }
    Ok(Finding::ok("the kernel says what its types are"))
}

fn tap(facts: &Facts) -> Known<Finding> {
    Ok(match facts.programs.tap.clone()? {
        None => Finding::ok("the kernel takes the tap"),
        Some(why) => {
            let finding = Finding::warning(format!("the tap cannot be loaded: {why}"));
            finding.fix(remedy(facts, &why))
        }
    })
}

fn hook(facts: &Facts) -> Known<Finding> {
    use crate::conf::EventSource;
    let Some(why) = facts.programs.hook.clone()? else {
        return Ok(Finding::ok("the kernel takes the hook"));
    };
    let conf = facts.conf.conf.as_ref();
    let found = format!("the hook cannot be loaded: {why}");
    Ok(match conf.is_ok_and(|conf| conf.general.event_source == EventSource::Hook) {
        true => Finding::warning(found).fix(remedy(facts, &why)),
        false => Finding::info(found),
    })
}

/// What to do about an error of loading.
fn remedy(facts: &Facts, why: &str) -> &'static str {
    let locked = facts.kernel.lockdown.as_ref().is_ok_and(|mode| mode == "confidentiality");
    if why.contains("no eBPF object") {
        "# build it with `cargo xtask build`, or install a release"
    } else if locked {
        "# boot with lockdown=integrity"
    } else {
        "# look for a security module (LSM) or a container that forbids bpf(2)"
    }
}

fn failures(facts: &Facts) -> Known<Finding> {
    let kernel = &facts.kernel;
    if kernel.kprobes.clone()? {
        let missing = kernel.missing_functions.clone()?;
        return Ok(Finding::ok(match missing.is_empty() {
            true => "kprobes reach every function they would probe".into(),
            false => format!("kprobes are there; not by name: {}", missing.join(", ")),
        }));
    }
    let release = kernel.release.clone()?;
    let has_hook = number_of(&release).is_some_and(|version| version >= HOOK_SINCE);
    if has_hook && kernel.types.clone()? {
        return Ok(Finding::ok("no kprobes; the hook could tell of them"));
    }
    let fix = "# take a kernel with KPROBES, or 6.4 or newer with BTF";
    Ok(Finding::warning("neither kprobes nor the hook: failures can only be counted").fix(fix))
}

fn lockdown(facts: &Facts) -> Known<Finding> {
    let mode = facts.kernel.lockdown.clone()?;
    Ok(match mode.as_str() {
        "confidentiality" => Finding::warning("lockdown is confidentiality")
            .wanted("none or integrity")
            .fix("# boot with lockdown=integrity"),
        _ => Finding::ok(format!("lockdown is {mode}")),
    })
}

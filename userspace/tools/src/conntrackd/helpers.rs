//! Helpers in user space: from a configuration to the thread that serves them.

use super::plan::Plan;
use crate::conf::{HelperConf, HelperType};
use anyhow::{Context, Result, anyhow};
use engine::helper::Kind;
use host::helpers::{self, HelperSettings, Parts, Running, Settings, SetupError};
use host::log::Log;
use host::sys;
use std::sync::Arc;

/// `CAP_NET_ADMIN` (`include/uapi/linux/capability.h`).
const CAP_NET_ADMIN: u32 = 12;

/// Most expectations of a flow of Amanda at a time, unless the configuration says: `amandad` 3.5 names four ports in
/// one answer, and the kernel drops the oldest expectation to make room for one beyond the limit. conntrackd's is 3.
const AMANDA_EXPECT_MAX: u32 = 4;

/// What to serve; `None` if the block names no helper.
#[must_use]
pub fn settings(conf: &HelperConf) -> Option<Settings> {
    let HelperConf { setup, disable_on_exit, types } = conf;
    if types.is_empty() {
        return None;
    }
    let helpers = types.iter().filter_map(one).collect();
    Some(Settings { setup: *setup, disable_on_exit: *disable_on_exit, helpers })
}

/// The parser has refused helpers that are not known.
fn one(kind: &HelperType) -> Option<HelperSettings> {
    let key = kind.key();
    let mut policy = key.known_policy()?;
    if key.name == Kind::Amanda.name() {
        policy.expect_max = AMANDA_EXPECT_MAX;
    }
    if let Some(given) = &kind.policy {
        policy.expect_max = given.expect_max.unwrap_or(policy.expect_max);
        policy.expect_timeout_s = given.expect_timeout_s.unwrap_or(policy.expect_timeout_s);
    }
    Some(HelperSettings { key, queue: kind.queue_num, queue_len: kind.queue_len, policy })
}

/// Whether this kernel can serve helpers, if the plan has any and the caller may ask.
///
/// # Errors
/// Says what the kernel lacks.
pub fn examine(plan: &Plan) -> Result<()> {
    if plan.helpers.is_some() && sys::has_capability(CAP_NET_ADMIN) {
        helpers::probe()?;
    }
    Ok(())
}

/// Registers the helpers with the kernel and takes their queues.
///
/// # Errors
/// What the kernel refuses, and what an administrator can do about it.
pub fn open(plan: &Plan, log: &Arc<Log>) -> Result<Option<Parts>> {
    let Some(settings) = plan.helpers.clone() else { return Ok(None) };
    let setup = settings.setup;
    let parts = Parts::open(settings, log).map_err(|error| match hint(&error, setup) {
        Some(hint) => anyhow!("{error} ({hint})"),
        None => error.into(),
    });
    Ok(Some(parts?.scheduled(plan.tuning.scheduling)))
}

/// What can be done about it.
fn hint(error: &SetupError, setup: bool) -> Option<String> {
    let SetupError::Object { name, cause } = error else { return None };
    match cause.raw_os_error() {
        Some(libc::EINVAL) if !setup => {
            Some(format!("there is no such object: `Setup on`, or `nfct add helper {name} ...`"))
        }
        Some(libc::EBUSY) => Some(format!("unload nf_conntrack_{name} first")),
        _ => None,
    }
}

/// The thread, and what it takes to have it serve something else.
#[derive(Debug, Default)]
pub struct Service {
    running: Option<Running>,
}

impl Service {
    /// Starts the thread, if there is something to serve.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn start(parts: Option<Parts>) -> Result<Self> {
        let start = |parts| helpers::start(parts).context("starting the helpers' thread");
        Ok(Self { running: parts.map(start).transpose()? })
    }

    /// What the thread counts.
    #[must_use]
    pub fn counts(&self) -> helpers::Counts {
        self.running.as_ref().map(Running::counts).unwrap_or_default()
    }

    /// Serves what another plan says. Queues belong to one thread, so the old one ends first.
    ///
    /// # Errors
    /// When the kernel refuses the new ones; then those of `old` are served again, if it takes them.
    pub fn change(&mut self, (old, new): (&Plan, &Plan), log: &Arc<Log>) -> Result<()> {
        let of = |plan: &Plan| (plan.helpers.clone(), plan.tuning.scheduling);
        if of(old) == of(new) {
            return Ok(());
        }
        self.stop();
        let Err(why) = self.serve(new, log) else { return Ok(()) };
        self.serve(old, log)
            .context("the helpers of the old configuration are not served either")?;
        Err(why)
    }

    fn serve(&mut self, plan: &Plan, log: &Arc<Log>) -> Result<()> {
        *self = Self::start(open(plan, log)?)?;
        Ok(())
    }

    /// Ends the thread. False when it had panicked.
    pub fn stop(&mut self) -> bool {
        self.running.take().is_none_or(Running::stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::HelperPolicy;
    use ctnetlink::tuple::ipproto;

    fn expect_max(name: &str, policy: Option<HelperPolicy>) -> u32 {
        let kind = HelperType {
            name: name.to_owned(),
            ipv6: false,
            protocol: ipproto::UDP,
            queue_num: 1,
            queue_len: 1,
            policy,
        };
        one(&kind).expect("it is known").policy.expect_max
    }

    #[test]
    fn amanda_has_room_for_its_four_streams_unless_the_configuration_says_otherwise() {
        assert_eq!([expect_max("amanda", None), expect_max("tftp", None)], [4, 1]);
        let two = HelperPolicy { expect_max: Some(2), expect_timeout_s: None };
        assert_eq!(expect_max("amanda", Some(two)), 2);
    }
}

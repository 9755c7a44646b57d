//! The expectation: a flow that a helper announces before it begins.

use crate::Tuple;
use crate::flow::{HelperName, Name};

/// Expectation flags, `NF_CT_EXPECT_*`.
pub mod flag {
    /// Survives its first match.
    pub const PERMANENT: u32 = 1;
    /// Not active.
    pub const INACTIVE: u32 = 2;
    /// Made by a helper in user space.
    pub const USERSPACE: u32 = 4;
}

/// How an expected flow will be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectNat {
    /// 0: applies to the original direction, 1: to the reply.
    pub direction: u32,
    /// Saved tuple; its source side carries the address and port to use.
    pub tuple: Tuple,
}

/// A flow that is expected to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// Original tuple of the flow whose helper made it.
    pub master: Tuple,
    /// What the expected flow looks like.
    pub tuple: Tuple,
    /// Which bits of `tuple` count.
    pub mask: Tuple,
    /// Seconds until it expires.
    pub timeout_s: Option<u32>,
    /// Bits of [`flag`].
    pub flags: Option<u32>,
    /// Class within the helper.
    pub class: Option<u32>,
    /// The kernel's id.
    pub id: Option<u32>,
    /// Zone, host order.
    pub zone: Option<u16>,
    /// Translation.
    pub nat: Option<ExpectNat>,
    /// Helper that made it.
    pub helper: Option<HelperName>,
    /// Name of the function called when it matches.
    pub function: Option<Name<31>>,
}

impl Expectation {
    /// What the kernel wants to be told at least: the original tuple of the flow whose helper expects another one, what
    /// that looks like, and which bits of it count.
    #[must_use]
    pub fn new(master: Tuple, tuple: Tuple, mask: Tuple) -> Self {
        Self { master, tuple, mask, ..Self::default() }
    }

    /// The same after `change` has set fields. Other crates make one so: a struct literal would not compile any more
    /// when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

//! The expectation: a flow that a helper expects, such as the data connection that an FTP control connection announces.

use crate::Tuple;
use crate::flow::{HelperName, Name};

/// Bits of `CTA_EXPECT_FLAGS`: `NF_CT_EXPECT_*` (`linux/netfilter/nf_conntrack_common.h`).
pub mod flag {
    /// The expectation stays after its first match.
    pub const PERMANENT: u32 = 1;
    /// The expectation matches nothing until it is activated.
    pub const INACTIVE: u32 = 2;
    /// A helper in user space made it.
    pub const USERSPACE: u32 = 4;
}

/// How the kernel translates the expected flow (`CTA_EXPECT_NAT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpectNat {
    /// `CTA_EXPECT_NAT_DIR`: 0 if it applies to the original direction, 1 if to the reply direction.
    pub direction: u32,
    /// `CTA_EXPECT_NAT_TUPLE`: its source is the address and port to translate to.
    pub tuple: Tuple,
}

/// A flow that is expected to begin (`enum ctattr_expect`).
#[doc(alias = "nf_conntrack_expect")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// `CTA_EXPECT_MASTER`: original tuple of the flow whose helper made it.
    pub master: Tuple,
    /// `CTA_EXPECT_TUPLE`: original tuple of the expected flow, as far as `mask` has bits.
    pub tuple: Tuple,
    /// `CTA_EXPECT_MASK`: which bits of `tuple` are compared.
    pub mask: Tuple,
    /// `CTA_EXPECT_TIMEOUT`: seconds until it expires.
    pub timeout_s: Option<u32>,
    /// `CTA_EXPECT_FLAGS`: bits of [`flag`].
    pub flags: Option<u32>,
    /// `CTA_EXPECT_CLASS`: class within the helper.
    pub class: Option<u32>,
    /// `CTA_EXPECT_ID`.
    pub id: Option<u32>,
    /// `CTA_EXPECT_ZONE`, host byte order.
    pub zone: Option<u16>,
    /// `CTA_EXPECT_NAT`.
    pub nat: Option<ExpectNat>,
    /// `CTA_EXPECT_HELP_NAME`: the helper that made it.
    pub helper: Option<HelperName>,
    /// `CTA_EXPECT_FN`: name of the kernel function that is called when it matches.
    pub function: Option<Name<31>>,
}

impl Expectation {
    /// An expectation with the three fields that the kernel requires.
    #[must_use]
    pub fn new(master: Tuple, tuple: Tuple, mask: Tuple) -> Self {
        Self { master, tuple, mask, ..Self::default() }
    }

    /// The expectation after `change` has set fields. Other crates make one so: a struct literal would not compile any
    /// more when a newer kernel adds a field.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

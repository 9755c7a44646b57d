//! What differs between the machines that QEMU makes.

use crate::cross::Arch;

/// A kernel to test on.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// How it is called here.
    pub(super) name: &'static str,
    /// The Debian package that names the newest one.
    pub(super) package: &'static str,
    /// What `EventSource auto` must become on it.
    pub(super) auto: &'static str,
    /// What `EventSource hook` must become on it.
    pub(super) hook: &'static str,
    /// Tests that run on it beyond those of every kernel.
    pub(super) more: &'static str,
}

/// NETFILTER programs exist since 6.4.
const OLD: Plan =
    Plan { name: "6.1", package: "linux-image-amd64", auto: "tap", hook: "tap", more: "" };
const NEW: Plan = Plan {
    name: "6.12",
    package: "linux-image-6.12-amd64",
    auto: "tap",
    hook: "hook",
    more: "hook::every_new_flow hook::all_sources hooked:: adapt::no_change adapt::a_flow",
};

/// A kind of machine.
pub(super) struct Machine {
    /// Kernels that are tested.
    pub(super) plans: [Plan; 2],
    /// The emulator, and the package it comes in.
    pub(super) emulator: (&'static str, &'static str),
    /// What the emulator emulates.
    pub(super) arguments: &'static [&'static str],
    /// The serial port, as the kernel calls it.
    pub(super) console: &'static str,
    /// Where Debian keeps its libraries.
    pub(super) triplet: &'static str,
    /// The program that finds libraries, under the root.
    pub(super) linker: &'static str,
}

/// arm64: a CPU as of servers and routers since 2019, with atomic instructions and without pointer authentication,
/// which would take QEMU longer than all else.
const ARM64: Machine = Machine {
    plans: [
        Plan { package: "linux-image-arm64", ..OLD },
        Plan { package: "linux-image-6.12-arm64", ..NEW },
    ],
    emulator: ("qemu-system-aarch64", "qemu-system-arm"),
    arguments: &["-machine", "virt", "-cpu", "neoverse-n1"],
    console: "ttyAMA0",
    triplet: "aarch64-linux-gnu",
    linker: "lib/ld-linux-aarch64.so.1",
};
const AMD64: Machine = Machine {
    plans: [OLD, NEW],
    emulator: ("qemu-system-x86_64", "qemu-system-x86"),
    arguments: &["-cpu", "max"],
    console: "ttyS0",
    triplet: "x86_64-linux-gnu",
    linker: "lib64/ld-linux-x86-64.so.2",
};

impl Machine {
    pub(super) const fn of(arch: Arch) -> &'static Self {
        match arch {
            Arch::Amd64 => &AMD64,
            Arch::Arm64 => &ARM64,
        }
    }
}

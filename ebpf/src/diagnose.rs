//! Lines for the log of a diagnostics build.

/// Writes a line at debug level, as `aya_log_ebpf::debug!` does. In any other build than a diagnostics build it is
/// nothing.
macro_rules! diagnose {
    ($context:expr, $($what:tt)+) => {{
        #[cfg(feature = "diagnostics")]
        aya_log_ebpf::debug!($context, $($what)+);
    }};
}

pub(crate) use diagnose;

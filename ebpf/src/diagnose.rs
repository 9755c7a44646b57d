//! Lines for the log of a diagnostics build.

/// Writes a line at debug level, as `aya_log_ebpf::debug!` does; other builds than a diagnostics build have nothing here.
macro_rules! diagnose {
    ($context:expr, $($what:tt)+) => {{
        #[cfg(feature = "diagnostics")]
        aya_log_ebpf::debug!($context, $($what)+);
    }};
}

pub(crate) use diagnose;

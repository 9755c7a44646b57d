//! Lines that the eBPF programs of a diagnostics build log (`cargo xtask build --diagnostics`): a thread hands them on
//! to standard error, which in the background is the log's file. The threads that read events do nothing for it.
//!
//! Without the feature `diagnostics` there is no thread, and no program that logs.

#[cfg(feature = "diagnostics")]
pub(super) use forward::Diagnostics;

/// Stands in where nothing is logged.
#[cfg(not(feature = "diagnostics"))]
pub(super) struct Diagnostics;

#[cfg(not(feature = "diagnostics"))]
impl Diagnostics {
    /// Starts nothing.
    pub(super) const fn start(_: &mut aya::Ebpf) -> Option<Self> {
        None
    }
}

#[cfg(feature = "diagnostics")]
mod forward {
    use aya::Ebpf;
    use aya_log::EbpfLogger;
    use log::{Log, Metadata, Record};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::io::{self, Write};
    use std::sync::{Arc, Weak};
    use std::thread;

    /// How long the thread may outlive the source.
    const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

    /// Lines are handed on for as long as this lives.
    pub(in crate::source) struct Diagnostics {
        _wanted: Arc<()>,
    }

    impl Diagnostics {
        /// Starts to pass on what the programs of `ebpf` log; `None` where they log nothing. A ring that cannot be
        /// read is logged and costs no event.
        pub(in crate::source) fn start(ebpf: &mut Ebpf) -> Option<Self> {
            let lines = match EbpfLogger::init_with_logger(ebpf, StandardError) {
                Ok(lines) => lines,
                Err(aya_log::Error::MapNotFound) => return None,
                Err(error) => return complain(&error),
            };
            let wanted = Arc::new(());
            let still = Arc::downgrade(&wanted);
            let thread = thread::Builder::new().name("ebpf-log".into());
            match thread.spawn(move || hand_on(lines, &still)) {
                Ok(_) => Some(Self { _wanted: wanted }),
                Err(error) => complain(&error),
            }
        }
    }

    fn complain(error: &dyn std::error::Error) -> Option<Diagnostics> {
        eprintln!("what the eBPF programs log cannot be read: {error}");
        None
    }

    fn hand_on(mut lines: EbpfLogger<StandardError>, still: &Weak<()>) {
        while still.strong_count() > 0 {
            // Whatever comes of waiting, the ring is looked at.
            let _ = poll(&mut [PollFd::new(&lines, PollFlags::IN)], Some(&PATIENCE));
            lines.flush();
        }
    }

    /// Writes records to standard error.
    struct StandardError;

    impl Log for StandardError {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            // A closed standard error cannot be reported anywhere.
            let _ = io::stderr().lock().write_all(line(record).as_bytes());
        }

        fn flush(&self) {}
    }

    fn line(record: &Record<'_>) -> String {
        let level = record.level().as_str().to_ascii_lowercase();
        let (file, line) = (record.file().unwrap_or("?"), record.line().unwrap_or(0));
        format!("[{level}] {file}:{line}: {}\n", record.args())
    }

    #[cfg(test)]
    mod tests {
        use super::line;
        use log::{Level, Record};

        #[test]
        fn a_line_says_how_serious_it_is_and_which_line_of_the_program_wrote_it() {
            let record = |line| {
                let mut record = Record::builder();
                record.level(Level::Debug).file(Some("ebpf/src/hook.rs")).line(line);
                record
            };
            let text = line(&record(Some(7)).args(format_args!("hook: lost")).build());
            assert_eq!(text, "[debug] ebpf/src/hook.rs:7: hook: lost\n");
            let text = line(&record(None).file(None).args(format_args!("lost")).build());
            assert_eq!(text, "[debug] ?:0: lost\n");
        }
    }
}

//! `nfct`: manages timeout policies and helpers of the kernel's connection tracking.

fn main() -> std::process::ExitCode {
    tools::nfct::run(std::env::args_os())
}

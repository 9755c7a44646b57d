//! `conntrackd`: replicates connection tracking state.

fn main() -> std::process::ExitCode {
    tools::conntrackd::run(std::env::args_os())
}

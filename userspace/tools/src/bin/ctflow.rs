//! `ctflow`: asks the daemon what the original's client cannot ask.

fn main() -> std::process::ExitCode {
    tools::ctflow::run(std::env::args_os())
}

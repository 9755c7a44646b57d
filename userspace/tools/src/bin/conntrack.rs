//! `conntrack`: shows and changes the kernel's connection tracking table.

fn main() -> std::process::ExitCode {
    tools::conntrack::run(std::env::args_os())
}

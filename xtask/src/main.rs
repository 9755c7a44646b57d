//! Every task of this repository: `cargo xtask <verb>`.
//!
//! One verb is one file with `run(options)`. A verb that needs something sets it up first, so on a fresh machine
//! `cargo xtask test` or `cargo xtask demo` is the only command to know.
#![forbid(unsafe_code)]

mod matrix;
mod repo;
mod shell;
mod toolchain;
mod setup;
mod apt;
mod cross;
mod build;
mod tally;
mod contrib;
mod vm;
mod tidy;
mod ledger;
mod public_api;
mod lint;
mod sim;
mod busy;
mod package;
mod test;
mod demo;
mod bench;
mod fuzz;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Tasks of the ctflow repository.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    max_term_width = 100,
    after_help = "First steps:\n  cargo xtask demo          watch a TCP connection outlive its router (root)\n  \
                  cargo xtask test          everything; the last line counts what passed\n  \
                  cargo xtask test unit     what needs neither root nor a BPF toolchain\n\n\
                  Exit status: 0 done, 1 failed (stderr says why), 2 wrong use."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Options),
    Build(build::Options),
    Test(test::Options),
    Sim(sim::Options),
    Lint(lint::Options),
    Tidy(tidy::Options),
    PublicApi(public_api::Options),
    Demo(demo::Options),
    /// A part of the demonstration, run inside one of its namespaces.
    #[command(hide = true)]
    DemoNode(demo::node::Options),
    Bench(bench::Options),
    Fuzz(fuzz::Options),
    Package(package::Options),
    /// Computes for ever: `test --busy` starts it.
    #[command(hide = true)]
    Spin(busy::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup(options) => setup::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Build(options) => build::run(&options).map(|_| ExitCode::SUCCESS),
        Verb::Test(options) => test::run(&options),
        Verb::Sim(options) => sim::run(&options),
        Verb::Lint(options) => lint::run(&options),
        Verb::Tidy(options) => tidy::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::PublicApi(options) => public_api::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Demo(options) => demo::run(&options),
        Verb::DemoNode(options) => demo::node::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Package(options) => package::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Fuzz(options) => fuzz::run(&options).map(|()| ExitCode::SUCCESS),
        Verb::Spin(options) => busy::spin(&options).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

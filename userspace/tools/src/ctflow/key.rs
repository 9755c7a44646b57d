//! `ctflow key`: the keys that nodes know each other by (`replication-v2.md`, R4.1).

use super::{outcome::note, print};
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use host::keyfile;
use host::secure::PublicKey;
use serde_json::json;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with keys.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Make a key pair: the secret key into a new file of mode 0600, the public key to standard output
    Generate {
        /// The file, which must not exist. Without it the secret key goes to standard output, the public one to
        /// standard error
        file: Option<PathBuf>,
        /// As one JSON object
        #[arg(long, requires = "file")]
        json: bool,
    },
    /// Print the public key of a secret one
    Public {
        /// A key file; `-` is standard input
        file: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make a preshared key, one for all nodes: into a new file of mode 0600
    Psk {
        /// The file, which must not exist
        file: PathBuf,
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Does it. Nothing is overwritten, and no secret key is printed but where there is no file for it.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    match &options.verb {
        Verb::Generate { file: Some(file), json } => {
            let key = keyfile::generate(file)?;
            public(file, key, *json)?;
        }
        Verb::Generate { file: None, .. } => {
            let secret = keyfile::draw();
            print(&secret.to_text())?;
            print("\n")?;
            note(format_args!("the public key is {}", secret.public()));
        }
        Verb::Public { file, json } => {
            let secret = if file == Path::new("-") {
                keyfile::parse(Path::new("standard input"), io::stdin().lock())?
            } else {
                keyfile::read(file)?
            };
            public(file, secret.public(), *json)?;
        }
        Verb::Psk { file, json } => {
            ensure!(file != Path::new("-"), "a preshared key goes into a file");
            keyfile::create(file, &keyfile::draw())?;
            if *json {
                print(&format!("{}\n", json!({ "file": file.display().to_string() })))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn public(file: &Path, key: PublicKey, json: bool) -> Result<()> {
    let key = key.to_string();
    let object = || json!({ "file": file.display().to_string(), "public_key": key });
    print(&if json { format!("{}\n", object()) } else { format!("{key}\n") })
}

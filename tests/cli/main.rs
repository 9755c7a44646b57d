//! Ours and Debian's `conntrack`, side by side: the same command line in twin namespaces with the same table must end
//! with the same exit code, the same output and the same table. What differs on purpose is in `docs/deviations.toml`,
//! whose entries name command lines in `commands`.
//!
//! `nfct` is compared in the same way (`nfct.rs`): its entries have `nfct` instead of `commands`.
//!
//! The command lines are in `lines/`, the tables they meet in `tables/`; [`script`] says how they are written.
//! `CTFLOW_CLI=TEXT` runs only the command lines that contain the text.

mod script;
mod mask;
mod side;
mod ledger;
mod record;
mod twins;
mod lines;
mod property;
mod nfct;
mod order;
mod beyond;

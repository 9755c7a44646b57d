//! What the kernel is asked, and what is shown of its answers.

use super::failure::Failure;
use super::parameters::{Action, Wanted};
use super::print;
use crate::stdout;
use host::nfnetlink::Client;
use host::nfnetlink::helper::{HelperKey, HelperObject};
use host::nfnetlink::timeout::TimeoutPolicy;
use std::io;

/// Carries out an action; objects go to stdout, as JSON if so wanted.
///
/// # Errors
/// What the kernel refuses.
pub fn run(action: &Action, json: bool) -> Result<(), Failure> {
    if *action == Action::Version {
        stdout::put(print::version().as_bytes());
        return Ok(());
    }
    let mut client = Client::open().map_err(|error| Failure::no_netlink(&error))?;
    let shown = ask(&mut client, action, json).map_err(|error| refusal(action, &error))?;
    stdout::put(shown.as_bytes());
    Ok(())
}

/// Sends the request and returns the answer as text.
fn ask(client: &mut Client, action: &Action, json: bool) -> io::Result<String> {
    let timeouts = |list: Vec<TimeoutPolicy>| print::all(&list, json);
    let helpers = |list: Vec<HelperObject>| print::all(&list, json);
    let nothing = |()| String::new();
    match action {
        Action::Version => Ok(print::version()),
        Action::ListTimeouts => client.timeouts().map(timeouts),
        Action::GetTimeout(name) => client.timeout(name).map(timeouts),
        Action::AddTimeout(policy) => client.add_timeout(policy).map(nothing),
        Action::DeleteTimeout(name) => client.delete_timeout(name.as_deref()).map(nothing),
        Action::SetDefault(policy) => client.set_default_timeout(policy).map(nothing),
        Action::GetDefault(l3, l4) => client.default_timeout(*l3, *l4).map(timeouts),
        Action::ListHelpers => client.helpers().map(helpers),
        Action::GetHelper(wanted) => found(client, wanted).map(helpers),
        Action::AddHelper(key, policy) => client.add_helper(key, *policy).map(nothing),
        Action::DisableHelper(key) => client.disable_helper(key).map(nothing),
        Action::DeleteHelper(wanted) => {
            client.delete_helper(&key(wanted), wanted.l3_protocol.is_none()).map(nothing)
        }
        Action::FlushHelpers => client.flush_helpers().map(nothing),
    }
}

/// The helpers that fit: the kernel's first one of the name, or all of it that are of the protocols said.
fn found(client: &mut Client, wanted: &Wanted) -> io::Result<Vec<HelperObject>> {
    if wanted.l3_protocol.is_none() {
        return client.helper(&wanted.name);
    }
    let mut list = client.helpers()?;
    list.retain(|helper| fits(&helper.key, wanted));
    if list.is_empty() { Err(io::Error::from_raw_os_error(libc::ENOENT)) } else { Ok(list) }
}

fn fits(key: &HelperKey, wanted: &Wanted) -> bool {
    key.name == wanted.name
        && wanted.l3_protocol.is_none_or(|l3| l3 == key.l3_protocol)
        && wanted.l4_protocol.is_none_or(|l4| l4 == key.l4_protocol)
}

/// A protocol that is not said is 0 to the kernel, which no helper has.
fn key(wanted: &Wanted) -> HelperKey {
    HelperKey {
        name: wanted.name.clone(),
        l3_protocol: wanted.l3_protocol.unwrap_or_default(),
        l4_protocol: wanted.l4_protocol.unwrap_or_default(),
    }
}

fn refusal(action: &Action, error: &io::Error) -> Failure {
    let failure = Failure::kernel(error);
    match action {
        Action::AddHelper(key, _) if error.raw_os_error() == Some(libc::EBUSY) => failure
            .and(Failure::plain(format_args!("Maybe unload nf_conntrack_{}.ko first?", key.name))),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_fits_by_what_was_said_of_it() {
        let key = HelperKey { name: "rpc".into(), l3_protocol: 2, l4_protocol: 17 };
        let wanted = |name: &str, l3_protocol, l4_protocol| {
            fits(&key, &Wanted { name: name.into(), l3_protocol, l4_protocol })
        };
        assert!(wanted("rpc", Some(2), None) && wanted("rpc", Some(2), Some(17)));
        assert!(!wanted("rpc", Some(10), None) && !wanted("rpc", Some(2), Some(6)));
        assert!(!wanted("ftp", Some(2), None));
    }

    #[test]
    fn a_helper_of_the_kernel_is_named_as_the_cause() {
        let key = HelperKey { name: "ftp".into(), l3_protocol: 2, l4_protocol: 6 };
        let policy = key.known_policy().unwrap();
        let busy = io::Error::from_raw_os_error(libc::EBUSY);
        let said = refusal(&Action::AddHelper(key, policy), &busy).to_string();
        assert!(said.ends_with("Device or resource busy\nMaybe unload nf_conntrack_ftp.ko first?"));
        let said = refusal(&Action::FlushHelpers, &busy).to_string();
        assert!(said.ends_with("netlink error: Device or resource busy"));
    }
}

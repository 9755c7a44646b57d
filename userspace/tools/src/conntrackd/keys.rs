//! The keys that a `Replication` block names: read, and compared with those of its peers (`replication-v2.md`, R3.2).

use crate::conf::{KeyFile, ReplicationConf};
use anyhow::{Context as _, Result, anyhow, bail};
use host::keyfile;
use host::secure::{Name, Secret};

/// What a node is and has to keep to itself.
#[derive(Debug)]
pub struct Identity {
    /// What it calls itself.
    pub name: Name,
    /// Its keys; the first is used, the second accepted too.
    pub keys: Vec<Secret>,
    /// The secret of all nodes, or zeros.
    pub preshared: Secret,
}

/// Reads the key files. `host` is the host's name, for a file that gives none.
///
/// # Errors
/// The first file that holds no key, the first peer that is this node: with the place in the configuration.
pub fn identity(conf: &ReplicationConf, host: &str) -> Result<Identity> {
    let read = |file: &KeyFile| {
        keyfile::read(&file.path).map_err(|error| anyhow!("{}: {error}", file.place))
    };
    let name = conf.name.map_or_else(|| host_name(conf, host), Ok)?;
    let keys = conf.key_files.iter().map(read).collect::<Result<Vec<Secret>>>()?;
    let preshared = conf.preshared_key_file.as_ref().map(read).transpose()?;
    let own: Vec<_> = keys.iter().map(Secret::public).collect();
    for peer in &conf.peers {
        if peer.name == name {
            bail!("{}: peer `{name}` is this node", peer.place);
        }
        if let Some(key) = peer.keys.iter().find(|key| own.contains(&key.key)) {
            bail!("{}: this is this node's own key", key.place);
        }
    }
    if let [first, second] = own.as_slice()
        && first == second
    {
        bail!("{}: both files hold one key", conf.key_files[1].place);
    }
    Ok(Identity { name, keys, preshared: preshared.unwrap_or(Secret::ZERO) })
}

fn host_name(conf: &ReplicationConf, host: &str) -> Result<Name> {
    Name::parse(host).with_context(|| {
        let place = &conf.place;
        format!("{place}: `Replication` has no `Name`, and the host's name `{host}` cannot be one")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::{ModeConf, parse};
    use std::os::unix::fs::PermissionsExt;

    fn said(folder: &tempfile::TempDir, name: &str, peer: &str, key: &str) -> String {
        let at = folder.path().display();
        let text = format!(
            "General {{ UNIX {{ Path /x }} }}\nSync {{\n Replication {{\n{name}\nKeyFile {at}/a.key\nPort 3790\n\
             Peer {peer} {{\nPublicKey {key}\nAddress 192.0.2.2\n}} }} }}"
        );
        let ModeConf::Sync(sync) = parse(&text, "c.conf").unwrap().0.mode else {
            panic!("not Sync")
        };
        let said = identity(&sync.replication.unwrap(), "Host");
        let said = said.map(|own| format!("{} {}", own.name, own.keys.len()));
        said.unwrap_or_else(|error| format!("{error:#}")).replace(&format!("{at}/"), "")
    }

    #[test]
    fn r3_2_what_is_wrong_with_keys_is_said_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let other = keyfile::draw().public().to_string();
        let said = |name: &str, peer: &str, key: &str| said(&folder, name, peer, key);
        let wanted = "c.conf:5:1: a.key: no such file (make one: ctflow key generate a.key)";
        assert_eq!(said("Name fw-a", "fw-b", &other), wanted);
        let path = folder.path().join("a.key");
        let own = keyfile::generate(&path).unwrap().to_string();
        assert_eq!(said("Name fw-a", "fw-b", &other), "fw-a 1");
        assert_eq!(said("Name fw-a", "fw-b", &own), "c.conf:8:1: this is this node's own key");
        let wanted = "c.conf:3:2: `Replication` has no `Name`, and the host's name `Host` cannot be one: \
                      a name is 1 to 32 of a-z, 0-9, `.' and `-'";
        assert_eq!(said("", "fw-b", &other), wanted);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let wanted = "c.conf:5:1: a.key has mode 0644, expected 0600";
        assert_eq!(said("Name fw-a", "fw-b", &other), wanted);
    }
}

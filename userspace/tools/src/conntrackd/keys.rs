//! The keys that a `Replication` block names: read, and compared with those of its peers (`replication-v2.md`, R3.2).

use crate::conf::{KeyFile, ReplicationConf};
use anyhow::{Context as _, Result, anyhow, bail};
use host::keyfile::{self, KeyFileError};
use host::secure::{Name, Secret};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What a node is and has to keep to itself.
#[derive(Debug)]
pub struct Identity {
    /// This node's name.
    pub name: Name,
    /// Its keys; the first is used, the second accepted too.
    pub keys: Vec<Secret>,
    /// The secret of all nodes, or zeros.
    pub preshared: Secret,
    /// Sentences about files that could not be read again.
    pub notes: Vec<String>,
}

/// The keys that were read, by file. A daemon that has given up root (`User`) may not read some of them again, and goes
/// on with these.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<Mutex<HashMap<PathBuf, Secret>>>);

impl Keyring {
    /// Reads a key; the second value says that it is the one that was read before.
    fn read(&self, file: &KeyFile) -> Result<(Secret, bool)> {
        let KeyFile { path, place } = file;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keyfile::read(path) {
            Ok(key) => {
                known.insert(path.clone(), key.clone());
                Ok((key, false))
            }
            Err(KeyFileError::Io(_, error)) if error.kind() == ErrorKind::PermissionDenied => {
                let kept = known.get(path).cloned().map(|key| (key, true));
                kept.with_context(|| format!("{place}: {}: {FORBIDDEN}", path.display()))
            }
            Err(error) => Err(anyhow!("{place}: {error}")),
        }
    }

    /// Whether a file holds another key now than the one that was read before.
    #[must_use]
    pub fn has_changed(&self, file: &KeyFile) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&file.path).cloned();
        let now = keyfile::read(&file.path).ok();
        matches!((known, now), (Some(known), Some(now)) if known.public() != now.public())
    }
}

/// What is said of a key file that the daemon may not read and has not read before.
const FORBIDDEN: &str = "permission denied: a daemon that has given up root (`User`) reads no file of root's. \
                         Restart it, or give the file to its user (chown)";

/// Reads the key files. `host` is the host's name, for a file that gives none.
///
/// # Errors
/// The first file that holds no key, the first peer that is this node: with the place in the configuration.
pub fn identity(conf: &ReplicationConf, host: &str, keyring: &Keyring) -> Result<Identity> {
    let mut notes = Vec::new();
    let mut read = |file: &KeyFile| -> Result<Secret> {
        let (key, is_kept) = keyring.read(file)?;
        if is_kept {
            notes.push(format!(
                "{}: {}: the daemon has given up root (`User`) and may not read this file again: the key that it \
                 held before stays in force",
                file.place,
                file.path.display()
            ));
        }
        Ok(key)
    };
    let name = conf.name.map_or_else(|| host_name(conf, host), Ok)?;
    let keys = conf.key_files.iter().map(&mut read).collect::<Result<Vec<Secret>>>()?;
    let preshared = conf.preshared_key_file.as_ref().map(&mut read).transpose()?;
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
    Ok(Identity { name, keys, preshared: preshared.unwrap_or(Secret::ZERO), notes })
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
        let said = identity(&sync.replication.unwrap(), "Host", &Keyring::default());
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

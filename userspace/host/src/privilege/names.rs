//! Users and groups, by name.
//!
//! A daemon that landlock confines ([`crate::confine::files`]) reads the `/etc/passwd` and `/etc/group` that were there
//! when it began. `useradd` puts a new file in their place, which is out of reach. So each answer is remembered: a
//! reload that names the users and groups of before goes on to work.

use super::PrivilegeError;
use nix::errno::Errno;
use nix::unistd::{Group, User as Account};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::{Mutex, PoisonError};

static ACCOUNTS: Names<Account> = Names::new("/etc/passwd");
static GROUPS: Names<Group> = Names::new("/etc/group");

/// The user of this name.
pub(super) fn account(name: &str) -> Result<Option<Account>, PrivilegeError> {
    let refused = |errno: Errno| PrivilegeError::Lookup(format!("user {name}"), errno);
    ACCOUNTS.find(name, || Account::from_name(name).map_err(refused))
}

/// The group of this name.
pub(super) fn group(name: &str) -> Result<Option<Group>, PrivilegeError> {
    let refused = |errno: Errno| PrivilegeError::Lookup(format!("group {name}"), errno);
    GROUPS.find(name, || Group::from_name(name).map_err(refused))
}

/// What was looked up in a database of names.
struct Names<T> {
    /// Where the names lie.
    file: &'static str,
    known: Mutex<BTreeMap<String, Option<T>>>,
}

impl<T: Clone> Names<T> {
    const fn new(file: &'static str) -> Self {
        Self { file, known: Mutex::new(BTreeMap::new()) }
    }

    /// What `look` finds, or found when the file could still be read.
    fn find(
        &self,
        name: &str,
        look: impl FnOnce() -> Result<Option<T>, PrivilegeError>,
    ) -> Result<Option<T>, PrivilegeError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = File::open(self.file);
        if opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
            let remembered = known.get(name).cloned();
            return remembered.ok_or_else(|| PrivilegeError::Hidden(name.to_owned(), self.file));
        }
        let found = look()?;
        known.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::files::{Allowed, Enforced};
    use std::thread;

    #[test]
    fn a_file_that_is_out_of_reach_is_answered_from_memory() {
        // Landlock lets such a thread reach nothing here.
        let here: &str = Box::leak(format!("{}/src/lib.rs", env!("CARGO_MANIFEST_DIR")).into());
        let body = move || {
            let names = Names::<u32>::new(here);
            assert_eq!(names.find("a", || Ok(Some(1))).unwrap(), Some(1));
            assert_eq!(names.find("a", || Ok(Some(2))).unwrap(), Some(2), "it is asked each time");
            assert_eq!(names.find("none", || Ok(None)).unwrap(), None);
            if Allowed::default().restrict_self(false).expect("it takes the rules") == Enforced::No
            {
                return;
            }
            let wrong = || -> Result<Option<u32>, PrivilegeError> { panic!("it cannot know") };
            assert_eq!(names.find("a", wrong).unwrap(), Some(2));
            assert_eq!(names.find("none", wrong).unwrap(), None);
            let said = names.find("b", wrong).unwrap_err().to_string();
            assert!(said.contains("looking up b") && said.contains("restart"), "{said}");
        };
        thread::spawn(body).join().expect("the thread ends well");
    }
}

use super::*;
use std::thread;

fn known(name: &str, uid: u32) -> Account {
    Account {
        name: name.to_owned(),
        passwd: c"x".into(),
        uid: nix::unistd::Uid::from_raw(uid),
        gid: nix::unistd::Gid::from_raw(uid + 1000),
        gecos: c"".into(),
        dir: "/".into(),
        shell: "/bin/false".into(),
    }
}

/// The identity that a daemon of this user takes, on a machine with these users besides root.
fn whom(user: &User, euid: u32, users: &[(&str, u32)]) -> Result<Option<(u32, u32)>, String> {
    let account = |name: &str| {
        let found = users.iter().chain([&("root", 0)]).find(|(known, _)| *known == name);
        Ok(found.map(|(name, uid)| known(name, *uid)))
    };
    let wish = Wish { user: user.clone(), group: None };
    let found = wish.resolve_as(euid, &account).map_err(|error| error.to_string())?;
    Ok(found.map(|identity| (identity.uid, identity.gid)))
}

#[test]
fn auto_is_the_packages_user_for_root_and_for_that_user_and_changes_nothing_else() {
    let users = [("ctflow", 7), ("other", 8)];
    assert_eq!(whom(&User::Auto, 0, &users), Ok(Some((7, 1007))));
    assert_eq!(whom(&User::Auto, 7, &users), Ok(Some((7, 1007))));
    assert_eq!(whom(&User::Auto, 8, &users), Ok(None));
    assert_eq!(whom(&User::Auto, 0, &users[1..]), Ok(None));
}

#[test]
fn a_named_user_must_exist_and_root_changes_nothing() {
    let users = [("other", 8)];
    assert_eq!(whom(&User::Named("other".into()), 0, &users), Ok(Some((8, 1008))));
    assert_eq!(whom(&User::Named("root".into()), 0, &users), Ok(None));
    let said = whom(&User::Named("nosuch".into()), 0, &users).unwrap_err();
    assert_eq!(said, "User nosuch: there is no such user");
    let group = Wish { group: Some("no-such-group".into()), ..Wish::default() };
    let said = group.resolve().unwrap_err().to_string();
    assert_eq!(said, "Group no-such-group: there is no such group");
}

/// The lines of this thread's status that begin with `Cap` and others of interest.
fn status(name: &str) -> String {
    let text = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_thread_that_becomes_another_user_keeps_one_capability_and_finds_no_way_back() {
    const UID: u32 = 65_534;
    if geteuid().as_raw() != 0 {
        return;
    }
    let identity = Identity { name: "nobody".into(), uid: UID, gid: UID, optional: false };
    // Credentials are those of one thread: the others of this test program stay what they are.
    let body = move || {
        assert!(identity.is_possible().unwrap());
        let kept = identity.become_it().unwrap();
        let all = "65534 65534 65534 65534";
        assert_eq!((status("Uid").as_str(), status("Gid").as_str()), (all, all));
        assert_eq!(status("Groups"), "");
        if kept == Kept::NetAdmin {
            for set in ["CapEff", "CapPrm"] {
                assert_eq!(status(set), "0000000000001000", "{set}");
            }
        }
        for set in ["CapInh", "CapBnd", "CapAmb"] {
            assert_eq!(status(set), "0000000000000000", "{set}");
        }
        assert_eq!(status("NoNewPrivs"), "1");
        let root = Uid::from_raw(0);
        assert_eq!(set_thread_res_uid(root, root, root), Err(Errno::PERM));
        // Once more, as after a restart by a service manager that has done it.
        assert_eq!(identity.become_it().unwrap(), kept);
    };
    thread::spawn(body).join().unwrap();
}

#[test]
fn what_a_user_may_do_at_a_path_is_known_before_it_is_tried() {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;
    if geteuid().as_raw() != 0 {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    write(&file, "").unwrap();
    let mode = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let answers = |dir_mode, file_mode| {
        mode(dir.path(), dir_mode);
        mode(&file, file_mode);
        let file = file.clone();
        let body = move || {
            let nobody = Identity { name: "nobody".into(), uid: 65_534, gid: 1, optional: false };
            nobody.become_it().unwrap();
            let new = file.with_file_name("new");
            [may(Use::Read, &file), may(Use::Write, &file), may(Use::Remove, &file)]
                .into_iter()
                .chain([may(Use::Write, &new)])
                .collect::<Vec<_>>()
        };
        thread::spawn(body).join().unwrap()
    };
    assert_eq!(answers(0o755, 0o644), [true, false, false, false]);
    assert_eq!(answers(0o755, 0o600), [false, false, false, false]);
    assert_eq!(answers(0o777, 0o666), [true, true, true, true]);
    assert_eq!(answers(0o1777, 0o644), [true, false, false, true]);
    assert_eq!(answers(0o700, 0o666), [false, false, false, false]);
}

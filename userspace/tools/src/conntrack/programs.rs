//! Finds the program behind a netlink port id: the socket's number in `/proc/net/netlink`, then the process that has
//! it open.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

/// How long an answer holds. Port ids are given away again, and a program that writes in a loop is asked about often.
const HOLDS: Duration = Duration::from_secs(1);
/// So many answers are kept.
const KEPT: usize = 1024;

/// Names of programs, as far as they were asked for.
#[derive(Debug, Default)]
pub struct Programs {
    known: HashMap<u32, (Option<String>, Instant)>,
}

impl Programs {
    /// The name of the program with this port id, if it is still there.
    pub fn name(&mut self, portid: u32) -> Option<&str> {
        let now = Instant::now();
        let held = self.known.get(&portid).is_some_and(|(_, until)| now < *until);
        if !held {
            if self.known.len() >= KEPT {
                self.known.clear();
            }
            self.known.insert(portid, (find(portid), now + HOLDS));
        }
        self.known.get(&portid)?.0.as_deref()
    }
}

fn find(portid: u32) -> Option<String> {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let socket = format!("socket:[{}]", socket_of(&sockets, portid)?);
    // Most sockets are the first one of their process, and have its number.
    if has_open(&portid.to_string(), &socket) {
        return command(&portid.to_string());
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let holder = names
        .find(|name| name.starts_with(|c: char| c.is_ascii_digit()) && has_open(name, &socket))?;
    command(&holder)
}

/// The inode of netfilter's socket with this port id: columns `Eth` and `Pid`, and the last one.
fn socket_of(sockets: &str, portid: u32) -> Option<&str> {
    let netfilter = libc::NETLINK_NETFILTER.to_string();
    let portid = portid.to_string();
    sockets.lines().skip(1).find_map(|row| {
        let mut columns = row.split_ascii_whitespace().skip(1);
        let is_it = columns.next()? == netfilter && columns.next()? == portid;
        is_it.then(|| columns.last()).flatten()
    })
}

fn has_open(process: &str, socket: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    targets.any(|target| target.as_os_str() == socket)
}

fn command(process: &str) -> Option<String> {
    let name = fs::read(format!("/proc/{process}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::netlink::Socket;

    #[test]
    fn a_socket_belongs_to_whoever_has_it_open() {
        // At most one of two sockets has the number of the process.
        let sockets = [Socket::for_requests().unwrap(), Socket::for_requests().unwrap()];
        let mut programs = Programs::default();
        let ours = command("self").unwrap();
        for socket in &sockets {
            assert_eq!(programs.name(socket.portid()), Some(ours.as_str()));
        }
        assert_eq!(programs.name(u32::MAX - 7), None);
    }
}

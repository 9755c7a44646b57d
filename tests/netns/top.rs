//! `ctflow top`: its numbers beside `conntrack -L`, real traffic through real NAT; its screen in tmux.

use crate::ops::said;
use serde_json::Value;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::Brand;
use tests::netns::{Namespace, run};
use tests::solo::{Solo, solo};
use tests::wait::{wait_for, wait_until};

pub(crate) fn program() -> PathBuf {
    Brand::Ours.program().with_file_name("ctflow")
}

/// Runs `ctflow top` inside of a namespace, without a terminal: lines of what it prints.
pub(crate) fn printed(node: &Namespace, line: &str) -> Vec<String> {
    let mut command = Command::new(program());
    command.arg("top").args(line.split_whitespace()).stdin(Stdio::null());
    let output = node.within(|| command.output().expect("the program can be started"));
    let (code, out, err) = said(&output);
    assert_eq!(code, 0, "top {line}: {err}");
    out.lines().map(str::to_owned).collect()
}

/// Its pictures as objects.
pub(crate) fn objects(node: &Namespace, line: &str) -> Vec<Value> {
    let lines = printed(node, &format!("-o json -d 0.3 {line}"));
    lines.iter().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

/// A client, a router that translates its source, and a server.
pub(crate) struct Nat {
    pub(crate) router: Solo,
    client: UdpSocket,
    server: UdpSocket,
    _ends: [Namespace; 2],
}

impl Nat {
    pub(crate) fn new() -> Self {
        let router = Solo::new();
        let [inside, outside] = [Namespace::new(), Namespace::new()];
        router.node.cable("in0", &inside, "up0", 1);
        router.node.cable("out0", &outside, "up0", 2);
        let settings = ["net/ipv4/ip_forward", "net/netfilter/nf_conntrack_acct"];
        router.node.within(|| {
            for name in settings.into_iter().chain(["net/netfilter/nf_conntrack_timestamp"]) {
                std::fs::write(format!("/proc/sys/{name}"), "1").expect("a setting is written");
            }
        });
        router.node.nft(
            "table ip nat { chain post { type nat hook postrouting priority srcnat; oifname out0 masquerade; }; }",
        );
        let gate = |end: &Namespace, subnet| {
            let gate = tests::netns::address(tests::netns::Family::V4, subnet, 1);
            end.sh(&format!("ip route add default via {gate}"));
        };
        gate(&inside, 1);
        let address = |subnet| tests::netns::address(tests::netns::Family::V4, subnet, 2);
        let bind = |end: &Namespace, subnet| {
            end.within(|| UdpSocket::bind((address(subnet), 0)).expect("a socket"))
        };
        let (client, server) = (bind(&inside, 1), bind(&outside, 2));
        server.set_read_timeout(Some(Duration::from_secs(60))).expect("it works");
        client.connect(server.local_addr().expect("it works")).expect("it works");
        Self { router, client, server, _ends: [inside, outside] }
    }

    /// Packets there, and one back for each two.
    pub(crate) fn talk(&self, packets: usize) {
        let mut buffer = [0; 2000];
        for packet in 0..packets {
            self.client.send(&[0; 1000]).expect("it works");
            let (_, from) = self.server.recv_from(&mut buffer).expect("it works");
            if packet % 2 == 1 {
                self.server.send_to(&[0; 500], from).expect("it works");
            }
        }
    }

    /// The numbers behind a word in the flow's line of `conntrack -L`, both directions.
    pub(crate) fn listed(&self, word: &str) -> Vec<u64> {
        let lines = self.router.node.sh("conntrack -L -p udp");
        let line = lines.lines().next().expect("the flow is there");
        let values = line.split(' ').filter_map(|part| part.strip_prefix(word)?.parse().ok());
        values.collect()
    }
}

pub(crate) fn numbers(flow: &Value, name: &str) -> Vec<u64> {
    ["orig", "reply"].iter().map(|way| flow[way][name].as_u64().expect("it is counted")).collect()
}

#[test]
fn numbers_are_those_of_conntrack_and_both_sides_of_the_nat_are_shown() {
    let nat = Nat::new();
    nat.talk(10);
    for words in ["--once --source kernel", "--once udp", "--once -g dst not src port 1"] {
        let picture = objects(&nat.router.node, words).remove(0);
        assert_eq!(
            (&picture["source"], &picture["exact"]),
            (&"kernel".into(), &true.into()),
            "{picture}"
        );
        assert_eq!(
            (&picture["totals"]["flows"], &picture["listed"]),
            (&1.into(), &1.into()),
            "{picture}"
        );
        let flow = &picture["flows"][0];
        for (word, name) in [("bytes=", "bytes"), ("packets=", "packets")] {
            assert_eq!(numbers(flow, name), nat.listed(word), "{picture}");
        }
        assert_eq!(numbers(flow, "packets"), [10, 5]);
        let outside = tests::netns::address(tests::netns::Family::V4, 2, 1).to_string();
        assert_eq!(flow["nat"]["src"]["addr"], outside.as_str());
        assert_eq!((&flow["in_bps"], &flow["out_bps"]), (&0.into(), &0.into()), "nobody talks now");
        assert!(flow["age_s"].is_u64(), "the kernel notes times: {flow}");
    }
    let text = printed(&nat.router.node, "--once -d 0.1").join("\n");
    for end in [nat.client.local_addr(), nat.server.local_addr()] {
        let end = end.expect("it works").to_string();
        assert!(text.contains(&format!(" {end} ")), "{end}: {text}");
    }
    assert!(text.contains(" from 10.") && text.contains("all flows metered"), "{text}");
    let none = objects(&nat.router.node, "--once tcp").remove(0);
    assert_eq!((&none["matched"]["flows"], &none["totals"]["flows"]), (&0.into(), &1.into()));
}

/// The rates of the only flow of two pictures, one after the other; `interval` names the time between their counters.
pub(crate) fn rates_are_what_was_gained(pair: &[Value], interval: &str) {
    let bytes = [0, 1].map(|at| numbers(&pair[at]["flows"][0], "bytes"));
    let interval = pair[1][interval].as_f64().expect("it works");
    for (at, name) in [(0, "out_bps"), (1, "in_bps")] {
        let rate = pair[1]["flows"][0][name].as_f64().expect("it has a rate");
        let gained = (bytes[1][at] - bytes[0][at]) as f64 * 8.0;
        // The interval counts in milliseconds there.
        let exact = gained / interval;
        assert!((rate - exact).abs() <= exact * 0.01 + 1.0, "{name}: {rate}, not {exact}");
        assert!(gained > 0.0, "they talked: {pair:#?}");
        assert_eq!(pair[1]["totals"][name].as_f64().expect("it works"), rate);
    }
}

#[test]
fn rates_are_what_the_counters_gained() {
    let nat = Nat::new();
    let over = AtomicBool::new(false);
    let pictures = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                nat.talk(2);
            }
        });
        wait_until("they talk", || !nat.router.node.sh("conntrack -L").is_empty());
        let pictures = objects(&nat.router.node, "--count 3");
        over.store(true, Relaxed);
        pictures
    });
    assert_eq!(pictures.len(), 3);
    for pair in pictures.windows(2) {
        rates_are_what_was_gained(pair, "interval_s");
    }
}

#[test]
fn a_daemon_stands_in_the_first_line_and_its_table_is_walked_where_nothing_is_counted() {
    let stage = Solo::new();
    let set = |value| {
        let path = "/proc/sys/net/netfilter/nf_conntrack_acct";
        stage.node.within(|| std::fs::write(path, value).expect("a setting is written"));
    };
    set("1");
    Requests::open(&stage.node).create(&udp_flows(0..300));
    let daemon = stage.ours("a", &solo(""));
    wait_until("it has read the table", || daemon.status()["work"]["state"] == "exact");
    let conf = format!("-C {}", daemon.path("conf").display());
    let ask = |words: &str| objects(&stage.node, &format!("--once {words} {conf}")).remove(0);
    let counted = ask("");
    assert_eq!((&counted["source"], &counted["counted"]), (&"kernel".into(), &true.into()));
    assert!(counted["daemon"].as_str().expect("it works").starts_with("exact, "), "{counted}");
    set("0");
    for words in ["", "--source daemon", "-g src/24 udp"] {
        let picture = ask(words);
        assert_eq!(
            (&picture["source"], &picture["exact"]),
            (&"daemon".into(), &true.into()),
            "{picture}"
        );
        assert_eq!(picture["matched"]["flows"], 300);
        assert!(picture["flows"][0]["in_bps"].is_null() && picture["totals"]["in_bps"].is_null());
    }
    // Without counters the table still shows which flows began and ended.
    let kernel = ask("--source kernel");
    assert_eq!((&kernel["source"], &kernel["totals"]["flows"]), (&"kernel".into(), &300.into()));
    assert_eq!(kernel["totals"]["new_per_s"], 0.0);
    let grouped = ask("-g src/24 udp");
    let sum = grouped["groups"]
        .as_array()
        .expect("it works")
        .iter()
        .map(|one| one["flows"].as_u64().expect("it works"));
    assert_eq!(sum.sum::<u64>(), 300);
    drop(daemon);
    let alone = ask("");
    assert_eq!((&alone["source"], &alone["daemon"]), (&"kernel".into(), &"none".into()));
    let mut command = Command::new(program());
    command
        .args(["top", "--once", "--source", "daemon"])
        .args(conf.split(' '))
        .stdin(Stdio::null());
    let (code, _, err) = said(&stage.node.within(|| command.output().expect("it works")));
    assert_eq!((code, err.contains("no daemon answers")), (2, true), "{err}");
}

#[test]
fn wrong_words_are_refused() {
    let node = Namespace::new();
    for (line, words) in [
        ("--once -g zones", "expected zone, proto"),
        ("--once -g zone,proto", "one key"),
        ("--once -s bytes", "expected one of in, out"),
        ("--once -d 0", "0.1 to 86400 seconds"),
        ("--once -o xml", "only text and json"),
        ("--once dst port htpp", "filter:1:10"),
        ("--once --source nobody", "possible values"),
    ] {
        let mut command = Command::new(program());
        command.arg("top").args(line.split_whitespace()).stdin(Stdio::null());
        let (code, out, err) = said(&node.within(|| command.output().expect("it works")));
        assert_eq!((code, out.as_str(), err.contains(words)), (2, "", true), "{line}: {err}");
    }
}

/// A terminal of 80 x 24 in tmux, with a shell command in it.
pub(crate) struct Tmux {
    files: tempfile::TempDir,
}

impl Tmux {
    pub(crate) fn start(node: &Namespace, command: &str) -> Self {
        let tmux = Self { files: tempfile::tempdir().expect("it works") };
        let at = tmux.at();
        // The program's last output stays on the screen; the shell holds it open.
        let line = format!(
            "cd {at}; stty -a > before; {command}; echo \"code=$?\"; stty -a > after; exec sleep 600"
        );
        node.within(|| {
            tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &line]);
        });
        tmux
    }

    fn at(&self) -> String {
        self.files.path().display().to_string()
    }

    fn run(&self, words: &[&str]) -> String {
        let socket = format!("{}/tmux", self.at());
        let mut all = vec!["-S", &socket];
        all.extend(words);
        run("tmux", &all)
    }

    pub(crate) fn keys(&self, keys: &[&str]) {
        let mut words = vec!["send-keys"];
        words.extend(keys);
        self.run(&words);
    }

    pub(crate) fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    pub(crate) fn wait_to_show(&self, text: &str) -> String {
        let mut last = String::new();
        wait_until(&format!("`{text}` is on the screen"), || {
            last = self.screen();
            last.contains(text)
        });
        last
    }

    /// The program has left, and the terminal is as it was before.
    pub(crate) fn wait_until_left(&self, code: &str) {
        self.wait_to_show(&format!("code={code}"));
        let flags = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(flags.trim(), "0 1", "neither the other screen nor a hidden cursor");
        let read = |name: &str| std::fs::read_to_string(self.files.path().join(name));
        let after =
            wait_for("stty has written", || read("after").ok().filter(|text| text.ends_with('\n')));
        assert_eq!(read("before").expect("it works"), after);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let socket = format!("{}/tmux", self.at());
        let _ = Command::new("tmux").args(["-S", &socket, "kill-server"]).output();
    }
}

pub(crate) fn top(more: &str) -> String {
    format!("{} top {more}", program().display())
}

#[test]
fn the_screen_shows_flows_obeys_keys_and_leaves_by_q() {
    let nat = Nat::new();
    nat.talk(4);
    let tmux = Tmux::start(&nat.router.node, &format!("TERM=xterm {}", top("-d 0.5")));
    let server = nat.server.local_addr().expect("it works").to_string();
    let screen = tmux.wait_to_show(&server);
    assert!(screen.contains("nat from 10.") && screen.contains("1 of 1 flows"), "{screen}");
    assert_eq!(screen.lines().count(), 24, "{screen}");
    tmux.keys(&["/", "t", "c", "p", "q", "Enter"]);
    tmux.wait_to_show("error");
    tmux.keys(&["BSpace", "Enter"]);
    tmux.wait_to_show("0 of 1 flows");
    tmux.keys(&["/", "BSpace", "BSpace", "BSpace", "Enter"]);
    tmux.wait_to_show("1 of 1 flows");
    tmux.keys(&["g"]);
    tmux.wait_to_show("groups by src");
    tmux.keys(&["Enter"]);
    tmux.wait_to_show("-- flows of 10.");
    tmux.keys(&["Enter"]);
    tmux.wait_to_show("as a command: conntrack -L -p udp");
    tmux.keys(&["Space"]);
    tmux.wait_to_show("FROZEN");
    tmux.keys(&["?"]);
    tmux.wait_to_show("any key: back");
    tmux.run(&["resize-window", "-x", "132", "-y", "40"]);
    tmux.wait_to_show("tcp 0  udp 1  other 0");
    tmux.run(&["resize-window", "-x", "50", "-y", "40"]);
    tmux.wait_to_show("the screen is too small");
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.wait_to_show("any key: back");
    tmux.keys(&["q"]);
    tmux.wait_until_left("0");
}

#[test]
fn every_way_out_puts_the_terminal_back() {
    let node = Namespace::new();
    Requests::open(&node).create(&udp_flows(0..50));
    for (term, signal) in [("linux", "TERM"), ("screen", "INT"), ("vt100", "TERM")] {
        let start = format!("TERM={term} sh -c 'echo $$ > pid; exec {}'", top(""));
        let tmux = Tmux::start(&node, &start);
        tmux.wait_to_show("50 of 50 flows");
        let pid = std::fs::read_to_string(tmux.files.path().join("pid")).expect("it works");
        run("kill", &["-s", signal, pid.trim()]);
        tmux.wait_until_left("0");
    }
    let tmux = Tmux::start(&node, &top(""));
    tmux.wait_to_show("50 of 50 flows");
    tmux.keys(&["C-c"]);
    tmux.wait_until_left("0");
    // A terminal that can do nothing gets a picture, and no control characters.
    let tmux = Tmux::start(&node, &format!("TERM=dumb {}", top("-d 0.2 -n 3")));
    tmux.wait_until_left("0");
}

#[test]
fn it_ends_with_its_terminal() {
    let node = Namespace::new();
    Requests::open(&node).create(&udp_flows(0..50));
    for start in ["", "trap '' HUP; "] {
        let shell = format!("sh -c \"{start}echo \\$\\$ > pid; exec {}\"", top(""));
        let tmux = Tmux::start(&node, &shell);
        tmux.wait_to_show("50 of 50 flows");
        let pid = std::fs::read_to_string(tmux.files.path().join("pid")).expect("it works");
        tmux.run(&["kill-server"]);
        let process = format!("/proc/{}", pid.trim());
        wait_until("it has ended", || !Path::new(&process).exists());
    }
}

/// No program but `ctflow` carries what draws on terminals: the bill of materials of the other package says so, too.
#[test]
fn only_ctflow_holds_a_screen() {
    let holds = |program: &Path| {
        let names = run("nm", &["-C", &program.display().to_string()]);
        ["ratatui", "crossterm"].map(|name| names.contains(name))
    };
    for other in ["conntrack", "conntrackd", "nfct"] {
        assert_eq!(holds(&program().with_file_name(other)), [false; 2], "{other}");
    }
    assert_eq!(holds(&program()), [true; 2]);
}

//! Network namespaces for tests.

use std::process::Command;

/// Moves the calling thread into a new network namespace with loopback up and conntrack active on it.
///
/// The namespace goes when the thread and everything it started have gone.
///
/// # Panics
/// When the process is not root or a tool is missing.
pub fn enter_new() {
    #[expect(unsafe_code, reason = "rustix marks unshare unsafe because of CLONE_FILES")]
    // SAFETY: CLONE_NEWNET moves only this thread and leaves descriptors alone.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET)
            .expect("unshare(CLONE_NEWNET) needs root");
    }
    run("ip", &["link", "set", "lo", "up"]);
    nft(
        "table inet t { chain c { type filter hook output priority 0; ct state new,established accept; }; }",
    );
}

/// Runs a tool in the calling thread's namespace.
///
/// # Panics
/// When it cannot be started or fails.
pub fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{tool} cannot be started: {e}"));
    assert!(
        output.status.success(),
        "{tool} {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Loads an nftables ruleset.
///
/// # Panics
/// When nft refuses it.
pub fn nft(rules: &str) {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("nft is installed");
    std::io::Write::write_all(&mut child.stdin.take().expect("stdin is piped"), rules.as_bytes())
        .expect("nft reads its rules");
    assert!(child.wait().expect("nft ends").success(), "nft refused: {rules}");
}

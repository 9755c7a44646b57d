//! What the other tests leave: nothing that cannot be taken away. Beside a helper in user space the kernel loads none of
//! its own of that name, which the tests of event sources want. The machines of `cargo xtask test vm` run this when the
//! others have ended, in a process of its own: the kernel takes namespaces apart behind the process that had them, and
//! their rules hold objects until then.

use crate::stage::alone;
use host::nfnetlink::Client;
use tests::wait::wait_or_explain;

/// Flushes until nothing is left: the kernel says yes to a flush that took one object away, whatever it left
/// (`nfnl_cthelper_del`, kernel v6.12 `net/netfilter/nfnetlink_cthelper.c`).
#[test]
fn no_object_of_a_helper_stays_in_use() {
    let _alone = alone();
    let mut client = Client::open().expect("netlink is there");
    let mut left = || {
        let flushed = client.flush_helpers();
        let objects = client.helpers().expect("the kernel lists its helpers");
        if objects.is_empty() { Ok(()) } else { Err((flushed, objects)) }
    };
    wait_or_explain(&mut left, |left| format!("helpers stay in use: {left:?}"));
}

//! What operators do, once per direction: bulk transfers, resyncs, restarts, take-overs with their settings.

use crate::cell::stage;
use tests::conf::{Conf, End, Rules};
use tests::conntrack::{catalogue_len, insert_catalogue, lines, lines_for_peer, table};
use tests::ctnetlink::{Requests, udp_flows};
use tests::daemon::{Brand, Daemon};
use tests::wait::{wait_equal, wait_for, wait_until};

crate::in_each_direction!(
    a_bulk_transfer_fills_an_emptied_table,
    a_resync_request_fills_an_emptied_table,
    a_node_that_starts_asks_for_everything,
    a_node_without_internal_cache_sends_the_kernels_table_in_bulk,
    a_commit_timeout_of_the_receiver_is_the_lifetime_of_what_it_commits,
    a_commit_timeout_of_the_sender_leaves_lifetimes_out,
    a_second_commit_replaces_what_the_first_one_made,
    nodes_take_over_from_each_other,
    nodes_take_over_from_each_other_by_ftfw,
    a_flushed_kernel_empties_the_other_one_where_there_is_no_external_cache,
);

/// Waits for the whole catalogue on B; its lines.
fn arrived(b: &Daemon<'_>) -> Vec<String> {
    let all = |lines: &Vec<String>| lines.len() == catalogue_len();
    wait_for("the catalogue arrives", || Some(b.external()).filter(all))
}

fn empty_external(b: &Daemon<'_>) {
    b.ask(&["-f", "external"]);
    wait_until("the table is empty", || b.external().is_empty());
}

fn a_bulk_transfer_fills_an_emptied_table(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B));
    let a = stage.start(from, "a", &Conf::new(End::A));
    insert_catalogue(&stage.a);
    let expected = arrived(&b);
    empty_external(&b);
    a.ask(&["-B"]);
    wait_equal("the bulk arrives", || b.external(), || expected.clone());
}

fn a_resync_request_fills_an_emptied_table(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B));
    let _a = stage.start(from, "a", &Conf::new(End::A));
    insert_catalogue(&stage.a);
    let expected = arrived(&b);
    empty_external(&b);
    b.ask(&["-n"]);
    wait_equal("the answer arrives", || b.external(), || expected.clone());
}

fn a_node_that_starts_asks_for_everything(from: Brand, to: Brand) {
    let stage = stage();
    let _a = stage.start(from, "a", &Conf::new(End::A));
    let mut first = stage.start(to, "first", &Conf::new(End::B));
    insert_catalogue(&stage.a);
    let expected = arrived(&first);
    first.ask(&["-k"]);
    first.wait_for_end();
    let b = stage.start(to, "b", &Conf::new(End::B).mode("StartupResync on"));
    wait_equal("everything arrives", || b.external(), || expected.clone());
}

fn a_node_without_internal_cache_sends_the_kernels_table_in_bulk(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B));
    let a = stage.start(from, "a", &Conf::new(End::A).mode("DisableInternalCache on"));
    insert_catalogue(&stage.a);
    let expected = arrived(&b);
    empty_external(&b);
    a.ask(&["-B"]);
    wait_equal("the bulk arrives", || b.external(), || expected.clone());
    empty_external(&b);
    b.ask(&["-n"]);
    wait_equal("the answer arrives", || b.external(), || expected.clone());
}

fn a_commit_timeout_of_the_receiver_is_the_lifetime_of_what_it_commits(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B).mode("CommitTimeout 7000"));
    let _a = stage.start(from, "a", &Conf::new(End::A));
    insert_catalogue(&stage.a);
    arrived(&b);
    b.ask(&["-c"]);
    let committed = table(&stage.b);
    assert_eq!(committed.len(), catalogue_len());
    assert!(committed.values().all(|s| (6000..=7000).contains(s)), "{committed:#?}");
}

fn a_commit_timeout_of_the_sender_leaves_lifetimes_out(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B));
    let _a = stage.start(from, "a", &Conf::new(End::A).mode("CommitTimeout 7000"));
    insert_catalogue(&stage.a);
    arrived(&b);
    b.ask(&["-c"]);
    if to == Brand::Original {
        // The original queries flows without lifetime, which are invalid, unless it received them some seconds ago.
        wait_until("the flows have aged", || {
            b.ask(&["-c"]);
            table(&stage.b).len() == catalogue_len()
        });
    }
    let committed = table(&stage.b);
    assert_eq!(committed.len(), catalogue_len());
    assert!(committed.values().all(|s| (1..=60).contains(s)), "{committed:#?}");
}

fn a_second_commit_replaces_what_the_first_one_made(from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B));
    let _a = stage.start(from, "a", &Conf::new(End::A));
    insert_catalogue(&stage.a);
    arrived(&b);
    b.ask(&["-c"]);
    let first = lines(&stage.b);
    b.ask(&["-c"]);
    assert_eq!(lines(&stage.b), first);
    assert_eq!(first, lines_for_peer(&stage.a));
}

/// A is primary, B takes over and adds flows, A takes over again: both hold everything.
fn nodes_take_over_from_each_other(from: Brand, to: Brand) {
    take_over_from_each_other(Rules::NoTrack, from, to);
}

fn nodes_take_over_from_each_other_by_ftfw(from: Brand, to: Brand) {
    take_over_from_each_other(Rules::Ftfw, from, to);
}

fn take_over_from_each_other(rules: Rules, from: Brand, to: Brand) {
    let stage = stage();
    let b = stage.start(to, "b", &Conf::new(End::B).rules(rules));
    let a = stage.start(from, "a", &Conf::new(End::A).rules(rules));
    insert_catalogue(&stage.a);
    arrived(&b);
    b.ask(&["-c"]);
    assert_eq!(lines(&stage.b), lines_for_peer(&stage.a));
    Requests::open(&stage.b).create(&udp_flows(0..50));
    wait_until("B's flows arrive", || a.external().len() >= 50);
    a.ask(&["-c"]);
    assert_eq!(lines(&stage.b), lines_for_peer(&stage.a));
    assert_eq!(lines(&stage.b).len(), catalogue_len() + 50);
}

fn a_flushed_kernel_empties_the_other_one_where_there_is_no_external_cache(from: Brand, to: Brand) {
    let stage = stage();
    let _b = stage.start(to, "b", &Conf::new(End::B).mode("DisableExternalCache on"));
    let _a = stage.start(from, "a", &Conf::new(End::A));
    let (a, b) = (&stage.a, &stage.b);
    insert_catalogue(a);
    wait_equal("B's kernel follows", || lines_for_peer(b), || lines_for_peer(a));
    a.sh("conntrack -F");
    wait_until("B's kernel is empty too", || lines(b).is_empty());
}

use super::*;
use alloc::vec::Vec;
use ctnetlink::Tuple;

fn flow(n: u16) -> Flow {
    Flow::new(Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80))
}

fn queue(requests: &[(Purpose, Request)]) -> KernelQueue {
    let mut queue = KernelQueue::new(1);
    requests.iter().for_each(|(purpose, request)| assert!(queue.push(*purpose, request.clone())));
    queue
}

fn polled(queue: &mut KernelQueue) -> Vec<(u32, bool)> {
    core::iter::from_fn(|| queue.poll().map(|op| (op.token, op.commit))).collect()
}

fn settled(queue: &mut KernelQueue, token: u32) -> Vec<(u32, bool)> {
    core::iter::from_fn(|| queue.settled(token).map(|(op, last)| (op.token, last))).collect()
}

#[test]
fn what_is_shown_is_what_is_handed_over_in_order_and_only_that_is_settled() {
    let commits = [1, 2, 3].map(|n| (Purpose::Commit, Request::Create(flow(n))));
    let mut queue = queue(&commits);
    assert_eq!(queue.settled(1).map(|(op, _)| op.token), None, "nothing is in flight");
    for n in 1..=2 {
        let shown = queue.peek().map(|op| (op.token, op.request.clone()));
        assert_eq!(shown, Some((n.into(), Request::Create(flow(n)))));
        assert_eq!(queue.poll().map(|op| (op.token, op.request.clone())), shown);
    }
    // An answer to what has not been asked settles what was.
    assert_eq!(settled(&mut queue, 3), [(1, true), (2, true)]);
    assert_eq!((queue.len(), queue.waits()), (1, true));
    assert_eq!(polled(&mut queue), [(3, true)]);
    assert!(!queue.waits());
}

#[test]
fn a_failure_is_found_between_others_and_beside_gaps_whatever_the_tokens() {
    let requests = [1, 2, 3, 4].map(|n| (Purpose::InjectNew, Request::Create(flow(n))));
    let mut queue = KernelQueue { next_token: u32::MAX - 1, ..KernelQueue::new(1) };
    requests.into_iter().for_each(|(purpose, request)| assert!(queue.push(purpose, request)));
    for _ in 0..3 {
        assert!(queue.poll().is_some());
    }
    let failed = |queue: &mut KernelQueue, token| queue.failed(token).map(|(op, _)| op.request);
    assert_eq!(failed(&mut queue, u32::MAX), Some(Request::Create(flow(2))));
    assert_eq!(failed(&mut queue, u32::MAX), None, "it has failed already");
    assert_eq!(failed(&mut queue, 1), None, "it waits still");
    assert_eq!(failed(&mut queue, u32::MAX - 2), None, "it never was");
    assert_eq!(failed(&mut queue, 0), Some(Request::Create(flow(3))));
    assert_eq!(settled(&mut queue, 0), [(u32::MAX - 1, true)]);
    assert_eq!(polled(&mut queue), [(1, false)]);
}

#[test]
fn the_last_word_about_a_flow_is_the_newest_injection_waiting_or_not() {
    let mut queue = queue(&[
        (Purpose::InjectNew, Request::Create(flow(1))),
        (Purpose::InjectUpdate, Request::Update(flow(1))),
        (Purpose::InjectNew, Request::Create(flow(2))),
        (Purpose::InjectDestroy, Request::Delete(flow(1).key(), None)),
    ]);
    queue.poll();
    queue.poll();
    queue.poll();
    assert_eq!(queue.failed(2).map(|(_, last)| last), Some(false), "the end of it waits");
    assert_eq!(settled(&mut queue, 3), [(1, false), (3, true)]);
    assert_eq!(polled(&mut queue), [(4, false)]);
    assert_eq!(queue.failed(4).map(|(_, last)| last), Some(true));
    assert!(queue.is_empty() && queue.pending.is_empty());
}

#[test]
fn an_older_request_that_is_not_settled_does_not_take_the_last_word_from_a_failed_one() {
    let mut queue = queue(&[
        (Purpose::InjectNew, Request::Create(flow(1))),
        (Purpose::InjectUpdate, Request::Update(flow(1))),
    ]);
    assert_eq!(polled(&mut queue).len(), 2);
    assert_eq!(queue.failed(2).map(|(_, last)| last), Some(true));
    assert_eq!(settled(&mut queue, 2), [(1, false)], "nor does it have the last word then");
}

#[test]
fn nothing_is_kept_of_the_flows_of_a_commit_and_its_clearing_goes_with_it() {
    let mut queue = queue(&[
        (Purpose::Commit, Request::Create(flow(1))),
        (Purpose::Clearing, Request::Delete(flow(2).key(), None)),
        (Purpose::CommitAgain, Request::Create(flow(2))),
        (Purpose::Clearing, Request::Delete(flow(3).key(), None)),
        (Purpose::InjectAgain, Request::Create(flow(3))),
    ]);
    assert_eq!(queue.pending.len(), 2);
    assert_eq!(polled(&mut queue), [(1, true), (2, true), (3, true), (4, false), (5, false)]);
    assert_eq!(settled(&mut queue, 5).len(), 5);
    assert!(queue.pending.is_empty());
}

#[test]
fn what_is_too_much_is_dropped_and_counted() {
    let mut queue = KernelQueue::new(1);
    for n in 0..limit::KERNEL_QUEUE_MAX {
        assert!(queue.push(Purpose::Commit, Request::Create(flow(n as u16))));
    }
    assert!(!queue.push(Purpose::Commit, Request::Create(flow(0))));
    assert_eq!(polled(&mut queue).len(), limit::KERNEL_IN_FLIGHT_MAX);
    assert!(queue.push(Purpose::Commit, Request::Create(flow(0))));
    assert_eq!(queue.usage().no_space, 1);
}

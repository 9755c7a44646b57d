use super::*;
use ctnetlink::flow::Known;
use ctnetlink::{Change, Tuple};
use engine::query::{Expr, Scope, Term};
use engine::{Config, Input, Origin, Stamp};

/// An engine with so many flows, every tenth of zone 5.
fn engine(flows: u32) -> Engine {
    let mut engine = Engine::new(Config::default(), Instant(0));
    for n in 0..flows {
        let [a, b, c, d] = n.to_be_bytes();
        let mut flow = Flow::new(Tuple::v4([10 + a, b, c, d], [9; 4], 17).with_ports(1, 53));
        flow.zone = if n.is_multiple_of(10) { 5 } else { 0 };
        (flow.id, flow.known) = (n, Known::ID | Known::STATUS);
        let (event, origin, stamp) = (Change::New, Origin::Foreign, Stamp::InOrder);
        engine.handle(Instant(1), Input::Kernel { event, flow, origin, stamp });
    }
    engine
}

fn zone(zone: u16) -> Arc<Program> {
    let set = engine::interval::Intervals::new([(zone, zone)]);
    Arc::new(Program::new(&Expr::Term(Term::Zone { scope: Scope::Any, set })).unwrap())
}

/// Runs one query to its end; the answer, and how many turns it took.
fn run(engine: &Engine, program: Arc<Program>, from: Place, want: Want) -> (QueryAnswer, u32) {
    let mut queries = Queries::default();
    let (reply, mut answer) = oneshot::channel();
    queries.order(Query { side: Side::Local, program, from, want, reply });
    let (mut turns, mut replies) = (0, Replies::default());
    loop {
        turns += 1;
        assert!(queries.step(engine, Instant(2), &mut replies) > 0, "it is under way");
        replies.send();
        if let Ok(answer) = answer.try_recv() {
            return (answer, turns);
        }
    }
}

#[test]
fn a_query_takes_a_slice_in_each_turn_and_finds_all() {
    let engine = engine(20_000);
    let (answer, turns) = run(&engine, zone(5), Place::default(), Want::Count);
    assert_eq!((answer.matched, answer.looked_at, answer.next), (2000, 20_000, None));
    assert!(turns >= 3, "20,000 slots in {turns} turns");
    assert!(answer.victims.is_empty() && answer.flows.is_empty());
    let (answer, _) = run(&engine, zone(5), Place::default(), Want::Victims(7));
    assert_eq!((answer.matched, answer.victims.len()), (2000, 7));
    assert_eq!(answer.victims[1].1, Some(10), "the kernel's id goes with it");
}

#[test]
fn pages_of_flows_go_on_where_the_last_one_ended() {
    let engine = engine(1000);
    let mut from = Some(Place::default());
    let mut seen = Vec::new();
    while let Some(place) = from {
        let (answer, _) = run(&engine, zone(5), place, Want::Flows(30));
        assert!(answer.flows.len() <= 30);
        seen.extend(answer.flows.into_iter().map(|(flow, _)| flow.id));
        from = answer.next;
    }
    assert_eq!(seen, (0..100).map(|n| n * 10).collect::<Vec<_>>());
}

#[test]
fn an_engine_without_a_local_table_says_so() {
    let mut config = Config::default();
    config.replication.keep_local = false;
    let engine = Engine::new(config, Instant(0));
    let (answer, _) = run(&engine, zone(5), Place::default(), Want::Count);
    assert!(answer.trust.is_none());
}

#[test]
fn what_nobody_waits_for_is_dropped_and_what_is_too_much_refused() {
    let engine = engine(10);
    let mut queries = Queries::default();
    let (reply, answer) = oneshot::channel();
    drop(answer);
    let query = |reply| Query {
        side: Side::Local,
        program: zone(5),
        from: Place::default(),
        want: Want::Count,
        reply,
    };
    queries.order(query(reply));
    assert_eq!(queries.step(&engine, Instant(2), &mut Replies::default()), 1);
    assert_eq!(queries.step(&engine, Instant(2), &mut Replies::default()), 0, "it is gone");
    let answers: Vec<_> = (0..RUNNING_MAX + 2)
        .map(|_| {
            let (reply, answer) = oneshot::channel();
            queries.order(query(reply));
            answer
        })
        .collect();
    assert_eq!(queries.usage().no_space, 2);
    let mut replies = Replies::default();
    while queries.step(&engine, Instant(2), &mut replies) > 0 {}
    replies.send();
    let done = answers.into_iter().filter_map(|mut answer| answer.try_recv().ok());
    assert_eq!(done.filter(|answer| answer.matched == 1).count(), RUNNING_MAX);
}

#[test]
fn a_census_counts_every_flow_a_slice_at_a_time() {
    let engine = engine(20_000);
    let everything = Arc::new(Program::new(&Expr::Everything).unwrap());
    let (answer, turns) = run(&engine, everything, Place::default(), Want::Census);
    assert!(turns >= 3, "20,000 slots in {turns} turns");
    let (zones, rest) = answer.census.expect("it was wanted").largest(16);
    let total = |cells: &[u64]| cells.iter().sum::<u64>();
    let zones: Vec<_> = zones.iter().map(|(zone, cells)| (*zone, total(cells))).collect();
    assert_eq!((zones, total(&rest)), (vec![(0, 18_000), (5, 2000)], 0));
}

#[test]
fn one_flow_is_looked_up_without_a_walk() {
    let engine = engine(20_000);
    let tuple = |n: u8| Tuple::v4([10, 0, 0, n], [9; 4], 17).with_ports(1, 53);
    let key = |n, zone| FlowKey { tuple: tuple(n), zone };
    let (answer, turns) = run(&engine, zone(9), Place::default(), Want::One(key(10, 5)));
    assert_eq!((answer.matched, answer.flows.len(), turns), (1, 1, 1));
    assert_eq!(answer.flows[0].0.key(), key(10, 5));
    let (answer, _) = run(&engine, zone(9), Place::default(), Want::One(key(10, 0)));
    assert_eq!((answer.matched, answer.next), (0, None), "it is another zone's");
}

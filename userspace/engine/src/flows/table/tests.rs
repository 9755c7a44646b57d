use super::*;
use alloc::collections::BTreeMap;
use ctnetlink::flow::ProtoState;

fn flow(n: u16, zone: u16) -> Flow {
    let tuple = Tuple::v4([1; 4], [2; 4], 6).with_ports(n, 80);
    Flow { zone, ..Flow::new(tuple) }
}

fn insert(t: &mut FlowTable, n: u16, zone: u16) -> Result<Slot, Full> {
    t.insert(flow(n, zone), Notes::default())
}

/// Defect 28 of the original: its remote table takes these for one.
#[test]
fn the_same_tuple_in_two_zones_is_two_flows() {
    let mut t = FlowTable::new(10, 1);
    insert(&mut t, 1, 0).unwrap();
    insert(&mut t, 1, 7).unwrap();
    assert_eq!(t.len(), 2);
    let slot = t.find(&flow(1, 7).key()).unwrap();
    t.remove(slot).unwrap();
    assert!(t.get(&flow(1, 0).key()).is_some());
    assert!(t.get(&flow(1, 7).key()).is_none());
}

#[test]
fn ended_flows_are_taken_in_the_order_they_ended_and_once() {
    let mut t = FlowTable::new(10, 1);
    let slots = [1, 2, 3].map(|n| insert(&mut t, n, 0).unwrap());
    t.set_dead(slots[2], true);
    for turn in 0..10 * GRAVES_EMPTY_MAX {
        t.set_dead(slots[0], turn % 2 == 0);
    }
    t.set_dead(slots[0], true);
    t.set_dead(slots[1], true);
    t.remove(slots[1]);
    assert!(t.graves.len() <= 2 * 3 + GRAVES_EMPTY_MAX + 1, "{}", t.graves.len());
    assert_eq!(t.take_grave(), Some(slots[2]));
    t.remove(slots[2]);
    assert_eq!(t.take_grave(), Some(slots[0]));
    t.remove(slots[0]);
    assert_eq!(t.take_grave(), None);
}

#[test]
fn a_full_table_refuses_and_takes_again_after_a_removal() {
    let mut t = FlowTable::new(2, 1);
    insert(&mut t, 1, 0).unwrap();
    let slot = insert(&mut t, 2, 0).unwrap();
    assert_eq!(insert(&mut t, 3, 0), Err(Full));
    t.remove(slot);
    insert(&mut t, 3, 0).unwrap();
}

/// The `n`-th of flows of every form that rows have; which form changes with `turn`.
fn form(n: u16, turn: u64) -> Flow {
    let flow = flow(n, 0);
    let reply = match (u64::from(n) + turn) % 4 {
        0 => Tuple::default(),
        1 | 2 => flow.orig.inverted(),
        _ => Tuple::v6([n as u8; 16], [turn as u8; 16], 6),
    };
    let flow = Flow { reply, mark: turn as u32, ..flow };
    if n.is_multiple_of(5) {
        return Flow { orig: Tuple::v6([7; 16], [n as u8; 16], 6).with_ports(n, 80), ..flow };
    }
    flow
}

#[test]
fn a_flow_may_change_its_form_and_stays_where_it_is() {
    let mut t = FlowTable::new(10, 1);
    let slot = t.insert(form(1, 0), Notes { stamp: 5, ..Notes::default() }).unwrap();
    assert_eq!(t.pairs.counts(), (0, 0));
    for (turn, counts) in [(2, (1, 0)), (6, (1, 0)), (3, (0, 1)), (10, (1, 0)), (4, (0, 1))] {
        let flow = Flow { proto: ProtoState::Dccp { state: 1, role: 0 }, ..form(1, turn) };
        t.set_flow(slot, flow.clone(), Becomes::Changed);
        assert_eq!(t.get(&flow.key()).map(|e| (e.flow(), e.stamp)), Some((flow, 5)));
        assert_eq!(t.pairs.counts(), counts);
    }
}

#[test]
fn what_lies_elsewhere_of_wide_flows_goes_with_them_and_its_place_is_filled_again() {
    let mut t = FlowTable::new(10, 1);
    let slots = [5, 10, 15].map(|n| t.insert(form(n, 0), Notes::default()).unwrap());
    assert_eq!(t.pairs.counts(), (3, 0));
    t.remove(slots[1]);
    assert_eq!(t.pairs.counts(), (2, 1));
    t.insert(form(20, 0), Notes::default()).unwrap();
    assert_eq!(t.pairs.counts(), (3, 0));
    let mut seen: Vec<_> = t.iter().map(|(_, e)| e.key()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [5, 15, 20].map(|n| form(n, 0).key()));
    t.clear();
    assert_eq!(t.pairs.counts(), (0, 0));
}

#[test]
fn it_behaves_like_a_map_under_a_long_random_life() {
    let mut t = FlowTable::new(300, 42);
    let mut model: BTreeMap<FlowKey, (u64, Flow)> = BTreeMap::new();
    let mut seed = 1_u64;
    for step in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let n = (seed >> 33) as u16 % 500;
        let (flow, notes) = (form(n, step), Notes { stamp: step, ..Notes::default() });
        let key = flow.key();
        if seed >> 62 == 0 {
            let known = t.get(&key).map(|e| (e.stamp, e.flow()));
            assert_eq!(known, model.remove(&key));
            let gone = t.find(&key).and_then(|slot| t.remove(slot));
            assert_eq!(gone.map(|notes| notes.stamp), known.map(|(stamp, _)| stamp));
        } else if let Some(slot) = t.find(&key) {
            t.notes_mut(slot).unwrap().stamp = step;
            t.set_flow(slot, flow.clone(), Becomes::Changed);
            model.insert(key, (step, flow));
        } else if t.insert(flow.clone(), notes).is_ok() {
            model.insert(key, (step, flow));
        } else {
            assert_eq!(model.len(), 300);
        }
    }
    let seen: BTreeMap<_, _> = t.iter().map(|(_, e)| (e.key(), (e.stamp, e.flow()))).collect();
    assert_eq!(seen, model);
    let is_wide = |flow: &&Flow| flow.orig.family == 10 || flow.reply.family == 10;
    assert_eq!(t.pairs.counts().0, model.values().map(|(_, flow)| flow).filter(is_wide).count());
}

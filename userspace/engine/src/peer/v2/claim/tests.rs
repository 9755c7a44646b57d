//! Each function of claims as its table. `UPDATE=1` rewrites the tables: read what has changed.

use super::*;
use core::fmt::Write as _;
use ctnetlink::Tuple;
use ctnetlink::flow::TcpState;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

const WHATS: [What; 4] = [What::State, What::New, What::Closed, What::Expired];

fn up_to_date(name: &str, wanted: &str) {
    let path = std::format!("{}/src/peer/v2/claim/tests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "{path} is stale; run: UPDATE=1 cargo test -p ctflow-engine claim");
}

const fn claim(owner: char, epoch: u32, version: u64, what: What) -> Claim<char> {
    Claim { owner, incarnation: 1, epoch, version, base: 0, what }
}

/// R10.1: every relation that a claim that comes can have to the known one.
#[test]
fn the_outcomes_are_those_of_the_table() {
    let mut text = String::from("known is b's: incarnation 1, epoch 1, version 10\n\n");
    let mut line = |repair: bool, known: Option<&Claim<char>>, coming: &Claim<char>| {
        let got = outcome(known, coming, repair);
        let Claim { owner, incarnation, epoch, version, what, .. } = coming;
        let known = known.map_or("nothing".into(), |known| std::format!("{:?}", known.what));
        let coming = std::format!(
            "{owner} incarnation {incarnation} epoch {epoch} version {version} {what:?}"
        );
        let kind = if repair { "repair" } else { "news" };
        writeln!(text, "{known:<8} {kind:<7} {coming:<45} {got:?}").unwrap();
    };
    for repair in [false, true] {
        for what in WHATS {
            line(repair, None, &claim('a', 0, 1, what));
        }
        for known in WHATS {
            let known = claim('b', 1, 10, known);
            for what in WHATS {
                for owner in ['a', 'b', 'c'] {
                    for (epoch, version, incarnation) in
                        combinations([0, 1, 2], [9, 10, 11], [0, 1, 2])
                    {
                        let coming = Claim { incarnation, ..claim(owner, epoch, version, what) };
                        line(repair, Some(&known), &coming);
                    }
                }
            }
        }
    }
    up_to_date("outcome", &text);
}

fn combinations<A: Copy, B: Copy, C: Copy>(a: [A; 3], b: [B; 3], c: [C; 3]) -> Vec<(A, B, C)> {
    let each = |a: A| b.into_iter().flat_map(move |b| c.into_iter().map(move |c| (a, b, c)));
    a.into_iter().flat_map(each).collect()
}

/// R10.1: two nodes that hear two claims of different owners in different orders hold the same one.
#[test]
fn order_does_not_decide_between_owners() {
    for (a, b, _) in combinations([0, 1, 2], [0, 1, 2], [0; 3]) {
        for (one, two) in WHATS.into_iter().flat_map(|w| WHATS.map(|v| (w, v))) {
            let (one, two) = (claim('a', a, 5, one), claim('b', b, 9, two));
            let taken = outcome(Some(&one), &two, false).is_taken();
            assert_ne!(taken, outcome(Some(&two), &one, false).is_taken());
        }
    }
}

const HAPPENED: [Happened; 10] = [
    Happened::New { begins: true },
    Happened::New { begins: false },
    Happened::Update,
    Happened::Closed,
    Happened::Expired,
    Happened::OtherDestroyed,
    Happened::Committed,
    Happened::Injected,
    Happened::Deleted,
    Happened::Shown,
];

/// R10.2.
#[test]
fn what_a_node_says_is_what_the_table_says() {
    let mut text =
        String::from("this node is b; a known claim has epoch 3, version 10, base 4\n\n");
    for happened in HAPPENED {
        let mut known = std::vec![None];
        for owner in ['a', 'b'] {
            known.extend(WHATS.map(|what| Some(Claim { base: 4, ..claim(owner, 3, 10, what) })));
        }
        for known in known {
            for closing in [false, true] {
                for bits in 0..8_u8 {
                    let (hot, standby, joined) = (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0);
                    let node = Node { me: 'b', hot, standby, joined };
                    let got = said(&node, happened, known.as_ref(), closing);
                    // Rare cases are described where they matter.
                    let plain = Node { me: 'b', hot: false, standby: false, joined: true };
                    let usual = said(&plain, happened, known.as_ref(), false);
                    let as_usual = (closing, hot, standby, joined) != (false, false, false, true);
                    if as_usual && got == usual {
                        continue;
                    }
                    let known = known.map_or("nothing".into(), |known| {
                        std::format!("{} {:?}", known.owner, known.what)
                    });
                    let happened = std::format!("{happened:?}");
                    let bits = std::format!(
                        "{}{}{}{}",
                        if closing { "closing " } else { "" },
                        if hot { "hot " } else { "" },
                        if standby { "standby " } else { "" },
                        if joined { "" } else { "not-joined " },
                    );
                    writeln!(text, "{happened:<22} {known:<10} {bits:<24} {got:?}").unwrap();
                }
            }
        }
    }
    up_to_date("said", &text);
}

/// R10.4.
#[test]
fn what_a_node_does_is_what_the_table_says() {
    let entries = [
        KernelEntry::None,
        KernelEntry::OwnClose,
        KernelEntry::Own,
        KernelEntry::Ceded,
        KernelEntry::Injected,
    ];
    let comes = [Comes::Live, Comes::New, Comes::Closed, Comes::Expired];
    let mut text = String::new();
    for entry in entries {
        for comes in comes {
            for bits in 0..16_u8 {
                let [knew, same_reply, adds, hot] = [8, 4, 2, 1].map(|bit| bits & bit != 0);
                let got = meet(entry, comes, Meeting { knew, same_reply, adds, hot });
                let (entry, comes) = (std::format!("{entry:?}"), std::format!("{comes:?}"));
                let bits = std::format!(
                    "{}{}{}{}",
                    if knew { "knew " } else { "" },
                    if same_reply { "same-reply " } else { "" },
                    if adds { "adds " } else { "" },
                    if hot { "hot" } else { "" },
                );
                writeln!(text, "{entry:<9} {comes:<8} {bits:<26} {got:?}").unwrap();
            }
        }
    }
    up_to_date("meet", &text);
}

#[test]
fn a_beginning_is_news_once() {
    let new = claim('a', 2, 7, What::New);
    let later = Claim { version: 9, ..new };
    assert_eq!(Comes::of(None, &new), Comes::New);
    assert_eq!(Comes::of(Some(&new), &later), Comes::Live);
    assert_eq!(Comes::of(Some(&claim('a', 1, 5, What::New)), &later), Comes::New);
    assert_eq!(Comes::of(Some(&claim('b', 2, 5, What::New)), &later), Comes::New);
    assert_eq!(Comes::of(Some(&claim('a', 2, 8, What::Closed)), &later), Comes::New);
}

/// R10.8.
#[test]
fn an_end_that_beat_a_living_flow_is_beaten_back_and_a_living_flow_wins() {
    let ours = claim('a', 1, 7, What::State);
    let end = claim('b', 4, 70, What::Closed);
    let wanted = Said::Claim { epoch: 5, base: 70, what: What::State, carries: Content::Kernel };
    assert_eq!(beaten(&ours, &end, true), wanted);
    assert!(matches!(beaten(&ours, &end, false), Said::Claim { what: What::Expired, .. }));
    assert_eq!(beaten(&ours, &claim('b', 4, 70, What::State), true), Said::Nothing);
    // The end came late: this node has claimed the flow with a higher epoch since.
    assert_eq!(beaten(&claim('a', 5, 9, What::State), &end, true), Said::Nothing);
}

fn flow() -> impl Strategy<Value = Flow> {
    (0..10_u8, any::<u16>(), 0..2_u8).prop_map(|(state, bits, reply)| {
        let orig = Tuple::v4([1; 4], [2; 4], 6).with_ports(1, 2);
        Flow {
            reply: orig.inverted().with_ports(2, u16::from(reply) + 1),
            status: Status::from_bits_truncate(u32::from(bits)),
            proto: ProtoState::Tcp(TcpState { state, ..TcpState::default() }),
            known: Known::STATUS,
            ..Flow::new(orig)
        }
    })
}

fn joined(one: &Flow, two: &Flow) -> Flow {
    let mut flow = one.clone();
    join(&mut flow, two);
    flow
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// R10.3: a node that joins says all that both did, and no node has anything to add.
    #[test]
    fn what_is_joined_says_what_both_say(one in flow(), two in flow()) {
        let both = joined(&one, &two);
        if one.reply != two.reply {
            prop_assert_eq!(&both, &one);
            prop_assert!(!adds(&one, &two) && !adds(&two, &one));
            return Ok(());
        }
        prop_assert!(!adds(&one, &both) && !adds(&two, &both));
        prop_assert_eq!(joined(&both, &two), both.clone());
        let other = joined(&two, &one);
        prop_assert_eq!((both.status & GAINED, both.tcp()), (other.status & GAINED, other.tcp()));
        // Bits that come and go are those of who claims.
        prop_assert_eq!(both.status - GAINED, one.status - GAINED);
    }
}

#[test]
fn states_of_tcp_have_an_order() {
    let order = [0, 1, 9, 2, 3, 4, 5, 6, 7, 8];
    assert!(order.map(progress).is_sorted_by(|a, b| a < b));
    assert_eq!(order.map(is_closing).iter().position(|closing| *closing), Some(5));
}

//! Each state with each event, as a table, and whole searches. `UPDATE=1` rewrites the table: read what has changed.

use super::*;
use core::fmt::Write as _;
use proptest::prelude::*;
use std::string::String;

const NOW: Instant = Instant(1_000_000_000);

/// What is sent next gets this number.
fn send(path: &mut Path, number: u64) -> Option<Owed> {
    let owed = path.owed()?;
    path.on_sent(owed, number);
    Some(owed)
}

fn acked(path: &mut Path, number: u64, size: usize) {
    path.on_acked(NOW, number, size - SEAL_LEN);
}

fn lost(path: &mut Path, number: u64, size: usize) {
    path.on_lost(NOW, number, size - SEAL_LEN);
}

/// Probe and witness of the size that is tried are in flight, as these numbers.
fn tried(path: &mut Path, probe: u64) {
    send(path, probe);
    send(path, probe + 1);
}

const STATES: [&str; 11] = [
    "begins",
    "probe flies",
    "both fly",
    "probe lost, witness flies",
    "witness came, probe flies",
    "twice lost, both fly",
    "last size, twice lost, both fly",
    "rests",
    "rests, two long ones lost",
    "doubts",
    "doubts, witness flies",
];

/// The probe that flies, if one does, is 101, and the witness 102.
fn state(name: &str) -> Path {
    let mut path = Path::new(NOW);
    let fail = |path: &mut Path| {
        tried(path, 1);
        lost(path, 1, SIZE_MAX);
        acked(path, 2, 60);
    };
    let rest = |path: &mut Path| {
        let _ = path.on_limit(NOW, SIZE_MAX, 1_472);
        tried(path, 1);
        acked(path, 1, 1_472);
    };
    match name {
        "begins" => {}
        "probe flies" => drop(send(&mut path, 101)),
        "both fly" => tried(&mut path, 101),
        "probe lost, witness flies" => {
            tried(&mut path, 101);
            lost(&mut path, 101, SIZE_MAX);
        }
        "witness came, probe flies" => {
            tried(&mut path, 101);
            acked(&mut path, 102, 60);
        }
        "twice lost, both fly" => {
            (0..2).for_each(|_| fail(&mut path));
            tried(&mut path, 101);
        }
        "last size, twice lost, both fly" => {
            let _ = path.on_limit(NOW, SIZE_MAX, 1_300);
            (0..2).for_each(|_| fail(&mut path));
            tried(&mut path, 101);
        }
        "rests" => rest(&mut path),
        "rests, two long ones lost" => {
            rest(&mut path);
            (10..12).for_each(|number| lost(&mut path, number, 1_472));
        }
        _ => {
            rest(&mut path);
            (10..13).for_each(|number| lost(&mut path, number, 1_472));
            if name != "doubts" {
                send(&mut path, 102);
            }
        }
    }
    path
}

/// What happens, by name.
fn happen(path: &mut Path, event: &str) {
    match event {
        "600 s go by" => path.on_time(NOW + SEARCH_EVERY),
        "101 came" => acked(path, 101, path_tries(path)),
        "101 is lost" => lost(path, 101, path_tries(path)),
        "102 came" => acked(path, 102, 60),
        "102 is lost" => lost(path, 102, 60),
        "a long one of later came" => acked(path, 200, path.size()),
        "a long one is lost" => lost(path, 150, path.size()),
        "a long one of before is lost" => {
            acked(path, 200, path.size());
            lost(path, 150, path.size());
        }
        "8972 do not pass, 1472 do" => drop(path.on_limit(NOW, 8_972, 1_472)),
        "8972 do not pass, 600 do" => drop(path.on_limit(NOW, 8_972, 600)),
        "1472 do not pass, 1400 do" => drop(path.on_limit(NOW, 1_472, 1_400)),
        _ => path.on_forgotten(),
    }
}

fn path_tries(path: &Path) -> usize {
    if let State::Searches(size, _) = path.state { size } else { 60 }
}

const EVENTS: [&str; 12] = [
    "600 s go by",
    "101 came",
    "101 is lost",
    "102 came",
    "102 is lost",
    "a long one of later came",
    "a long one is lost",
    "a long one of before is lost",
    "8972 do not pass, 1472 do",
    "8972 do not pass, 600 do",
    "1472 do not pass, 1400 do",
    "all in flight is forgotten",
];

fn shown(path: &Path) -> String {
    let owed = match path.owed() {
        Some(Owed::Probe { size, again }) => {
            std::format!("probe {size}{}", if again { ", asks" } else { "" })
        }
        Some(Owed::Witness) => "witness".into(),
        None => "-".into(),
    };
    let state = match path.state {
        State::Searches(size, lost) => std::format!("searches {size}, {lost} lost"),
        state => std::format!("{state:?}").to_lowercase(),
    };
    std::format!("{} {state:<24} {:<2} {owed}", path.size, path.hole.lost)
}

/// R12.4: what each event does in each state.
#[test]
fn each_event_in_each_state_does_what_the_table_says() {
    let mut text = String::from("size, state, long ones lost, what is to be sent\n");
    for name in STATES {
        writeln!(text, "\n{name}\n    {:<30} {}", "", shown(&state(name))).unwrap();
        for event in EVENTS {
            let mut path = state(name);
            happen(&mut path, event);
            writeln!(text, "    {event:<30} {}", shown(&path)).unwrap();
        }
    }
    let file = std::format!("{}/src/peer/v2/path/tests/table.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(std::path::Path::new(&file).parent().unwrap()).unwrap();
        std::fs::write(&file, &text).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(found == text, "{file} is stale; run: UPDATE=1 cargo test -p ctflow-engine path");
}

/// A search over a path that carries so much; an interface that takes so much says so. How many probes that took.
fn search(path: &mut Path, carries: usize, interface: usize, number: &mut u64) -> usize {
    let mut probes = 0;
    while let Some(owed) = path.owed() {
        *number += 1;
        path.on_sent(owed, *number);
        match owed {
            Owed::Probe { size, .. } if size > interface => {
                assert_eq!(path.on_limit(NOW, size, interface), Some(*number));
            }
            Owed::Probe { size, .. } if size > carries => {
                probes += 1;
                lost(path, *number, size);
            }
            Owed::Probe { size, .. } => acked(path, *number, size),
            Owed::Witness => acked(path, *number, 60),
        }
        assert!(*number < 200, "it ends");
    }
    probes
}

proptest! {
    /// The greatest size that is tried and passes is found, whatever it is, and whatever it was before.
    #[test]
    fn what_the_path_carries_is_found(
        before in SIZE_BASE..9_500_usize,
        carries in SIZE_BASE..9_500_usize,
        interface in SIZE_BASE..9_500_usize,
    ) {
        let (mut path, mut number) = (Path::new(NOW), 0);
        search(&mut path, before, usize::MAX, &mut number);
        path = Path { search_at: NOW, state: State::Rests, size: path.size, ..Path::new(NOW) };
        if path.size() > carries.min(interface) {
            // Data is lost, and a short datagram is not.
            (0..3).for_each(|_| { number += 1; let size = path.size(); lost(&mut path, number, size); });
            prop_assert_eq!(path.owed(), Some(Owed::Witness));
        } else {
            path.on_time(NOW);
        }
        let probes = search(&mut path, carries, interface, &mut number);
        let carried = carries.min(interface);
        let sizes = SIZES.into_iter().chain([SIZE_BASE, interface.min(SIZE_MAX)]);
        let wanted = sizes.filter(|size| *size <= carried).max().unwrap();
        let known = if before <= carried { path.size() } else { SIZE_BASE };
        prop_assert_eq!(path.size(), wanted.max(known));
        prop_assert!(probes <= 3 * (SIZES.len() + 1));
        prop_assert_eq!(path.timeout(), Some(NOW + SEARCH_EVERY));
    }
}

/// A path that carries nothing for a while says nothing of lengths, before a search is over and after it.
#[test]
fn an_outage_changes_nothing() {
    let mut path = Path::new(NOW);
    for number in 0..100 {
        tried(&mut path, number * 2);
        lost(&mut path, number * 2, SIZE_MAX);
        lost(&mut path, number * 2 + 1, 60);
    }
    assert_eq!(path.owed(), Some(Owed::Probe { size: SIZE_MAX, again: false }));
    tried(&mut path, 500);
    acked(&mut path, 500, SIZE_MAX);
    for number in 600..700 {
        lost(&mut path, number, SIZE_MAX);
    }
    for number in 700..720 {
        assert_eq!(send(&mut path, number), Some(Owed::Witness));
        lost(&mut path, number, 60);
    }
    acked(&mut path, 650, SIZE_MAX);
    assert_eq!((path.size(), path.owed()), (SIZE_MAX, None));
}

/// Random loss of a third of all datagrams of one length is not taken for a path that has stopped carrying them.
#[test]
fn loss_at_random_is_no_black_hole() {
    let mut path = Path::new(NOW);
    tried(&mut path, 1);
    acked(&mut path, 1, SIZE_MAX);
    for number in (10..30_000).step_by(3) {
        // What is lost is known when later ones came.
        acked(&mut path, number + 1, SIZE_MAX);
        acked(&mut path, number + 2, 200);
        lost(&mut path, number, SIZE_MAX);
    }
    assert_eq!((path.size(), path.owed()), (SIZE_MAX, None));
}

#[test]
fn a_path_takes_little_memory() {
    assert!(size_of::<Path>() <= 160, "{}", size_of::<Path>());
}

use super::super::limit::SHARDS_MAX;
use super::super::message::INITIATION_LEN;
use super::*;

const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
const _: () = wiped_on_drop::<Secrets>();

const S: u64 = 1_000_000_000;
const OWN: PublicKey = PublicKey([7; KEY_LEN]);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn count() -> impl FnMut(&mut [u8]) {
    let mut n = 0;
    move |bytes| {
        n += 1;
        bytes.fill(n);
    }
}

fn initiation(cookie: Option<&MacBytes>) -> ([u8; INITIATION_LEN], MacBytes) {
    let mut message = [SHARDS_MAX; INITIATION_LEN];
    let mac1 = MacKey::of(&OWN).put(&mut message, cookie);
    (message, mac1)
}

#[test]
fn r5_2_mac1_covers_every_byte_before_it_and_names_the_receiver() {
    let (message, _) = initiation(None);
    let key = MacKey::of(&OWN);
    assert!(key.is_right(&message));
    assert!(!MacKey::of(&PublicKey([8; KEY_LEN])).is_right(&message));
    for at in 0..INITIATION_LEN - MAC_LEN {
        let mut damaged = message;
        damaged[at] ^= 0x80;
        assert!(!key.is_right(&damaged), "byte {at}");
    }
}

#[test]
fn r5_2_mac1_is_blake2s_under_the_hashed_key() {
    // python3: hashlib.blake2s(b"@" * 168, digest_size=16, key=hashlib.blake2s(b"ctflow mac1" + b"\7" * 32).digest())
    let (_, mac1) = initiation(None);
    assert_eq!(mac1, VECTOR);
}

const VECTOR: MacBytes = *b"\x96\x53\xb6\x00\x4d\x8c\x69\x27\xa5\x24\x95\x99\x24\x99\xa6\x1c";

/// A gate that has used up what it lets through without a cookie.
fn busy(now: Instant, random: &mut dyn FnMut(&mut [u8])) -> Gate {
    let mut gate = Gate::new();
    for _ in 0..HANDSHAKES_BURST {
        let verdict = gate.admit(now, address("192.0.2.9:1"), &initiation(None).0, random);
        assert_eq!(verdict, Verdict::Read);
    }
    gate
}

#[test]
fn r5_3_beyond_the_rate_only_who_has_a_cookie_for_its_address_is_read() {
    let (mut random, now, from) = (count(), Instant(100 * S), address("192.0.2.1:3790"));
    let mut gate = busy(now, &mut random);
    let (message, mac1) = initiation(None);
    assert_eq!(gate.admit(now, from, &message, &mut random), Verdict::Cookie);
    let answer = gate.answer(from, &OWN, &message);
    assert!(answer.len() < message.len(), "no answer is longer than its question");
    assert_eq!(open(&answer, &OWN, &[0; MAC_LEN]), None, "it answers one message");
    let cookie = open(&answer, &OWN, &mac1).unwrap();
    let (proved, _) = initiation(Some(&cookie));
    for elsewhere in ["192.0.2.1:3791", "192.0.2.2:3790", "[2001:db8::1]:3790"] {
        let verdict = gate.admit(now, address(elsewhere), &proved, &mut random);
        assert_eq!(verdict, Verdict::Cookie, "{elsewhere}");
    }
    assert_eq!(gate.admit(now, from, &proved, &mut random), Verdict::Read);
    // A cookie holds while the secret is the present one or the one before, and no longer.
    for (after_s, verdict) in [(119, Verdict::Read), (239, Verdict::Read), (361, Verdict::Cookie)] {
        let now = Instant((100 + after_s) * S);
        while gate.admit(now, from, &message, &mut random) == Verdict::Read {}
        assert_eq!(gate.admit(now, from, &proved, &mut random), verdict, "{after_s} s");
    }
}

#[test]
fn r5_3_a_flood_with_cookies_takes_nothing_from_other_networks() {
    let (mut random, now) = (count(), Instant(S));
    let mut gate = busy(now, &mut random);
    let mut proved = |gate: &mut Gate, from: &str| {
        let from = address(from);
        let (message, mac1) = initiation(None);
        assert_eq!(gate.admit(now, from, &message, &mut random), Verdict::Cookie);
        let cookie = open(&gate.answer(from, &OWN, &message), &OWN, &mac1).unwrap();
        gate.admit(now, from, &initiation(Some(&cookie)).0, &mut random)
    };
    let ports = (1..1000).map(|port| format!("198.51.100.1:{port}"));
    let read = ports.filter(|from| proved(&mut gate, from) == Verdict::Read).count();
    assert_eq!(read, PROVED_BURST as usize, "all ports of an address are one");
    // One of these may share its bucket with the flood.
    let others = (1..=10).map(|host| format!("192.0.2.{host}:3790"));
    let read = others.filter(|from| proved(&mut gate, from) == Verdict::Read).count();
    assert!(read >= 8, "{read} of 10");
}

#[test]
fn no_two_cookies_are_sealed_alike() {
    let (mut random, now, from) = (count(), Instant(S), address("192.0.2.1:1"));
    let mut gate = busy(now, &mut random);
    let (message, _) = initiation(None);
    gate.admit(now, from, &message, &mut random);
    assert_ne!(gate.answer(from, &OWN, &message), gate.answer(from, &OWN, &message));
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    let (mut bucket, mut given) = (Bucket::full(20), 0);
    for ms in 0..10_000_u64 {
        given += u32::from(bucket.take(Instant(5 * S + ms * 1_000_000), 50, 20));
    }
    assert!((500 + 19..=500 + 21).contains(&given), "{given} in ten seconds");
}

use super::*;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::string::String;
use std::vec;
use std::vec::Vec;

fn frame(kind: Kind, status: Status, body: &[u8]) -> Vec<u8> {
    let mut out = Header { len: body.len(), kind, status }.encode().to_vec();
    out.extend_from_slice(body);
    out
}

/// What a client makes of the bytes of an answer: the data, and the status of its end; `None` if it is not complete.
fn read(mut bytes: &[u8]) -> Result<(Vec<u8>, Option<Status>), DecodeError> {
    let (mut answer, mut data, mut end) = (Answer::New, Vec::new(), None);
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(head)?;
        answer.take(&header)?;
        let Some((body, rest)) = rest.split_at_checked(header.len) else { break };
        match header.kind {
            Kind::Data => data.extend_from_slice(body),
            Kind::End => end = Some(header.status),
            _ => {}
        }
        bytes = rest;
    }
    Ok((data, end))
}

fn refusal() -> Vec<u8> {
    [
        frame(Kind::Hello, Status::Done, &VERSION.to_ne_bytes()),
        frame(Kind::Note, Status::Done, b"the table is degraded since 3 s"),
        frame(Kind::Data, Status::Done, b"tcp 6 a\ntcp 6 b\n"),
        frame(Kind::End, Status::Failed, b"error: the engine has ended"),
    ]
    .concat()
}

#[test]
fn a_refusal_is_none_of_the_data_wherever_it_is_cut() {
    let whole = refusal();
    let lines = b"tcp 6 a\ntcp 6 b\n";
    assert_eq!(read(&whole), Ok((lines.to_vec(), Some(Status::Failed))));
    for cut in 0..whole.len() {
        let (data, end) = read(&whole[..cut]).unwrap();
        assert!(data.is_empty() || data == lines, "cut at {cut}");
        // Only a header that is there can end it, and what is missing of its text changes nothing.
        assert_eq!(end, None, "cut at {cut}");
    }
}

#[test]
fn no_flipped_bit_or_byte_makes_success_or_data_of_a_refusal() {
    let whole = refusal();
    let frames = [2, 31, 16, 27];
    assert_eq!(whole.len(), frames.iter().map(|len| len + HEADER_LEN).sum());
    for at in 0..whole.len() {
        for flip in (0..8).map(|bit| 1_u8 << bit).chain([0xff]) {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let mut start = 0;
            let in_header = frames.iter().any(|len| {
                let header = start..start + HEADER_LEN;
                start = header.end + len;
                header.contains(&at)
            });
            let outcome = read(&bytes);
            assert_eq!(outcome.is_err(), in_header, "byte {at} flipped by {flip:#x}");
            let Ok((data, end)) = outcome else { continue };
            assert_eq!((data.len(), end), (16, Some(Status::Failed)), "byte {at} by {flip:#x}");
        }
    }
}

#[test]
fn frames_out_of_order_are_refused() {
    let of = |kind, status| Header { len: 0, kind, status };
    let runs = |frames: &[(Kind, Status)]| {
        let mut answer = Answer::New;
        frames.iter().all(|(kind, status)| answer.take(&of(*kind, *status)).is_ok())
            && answer.is_complete()
    };
    let (hello, data) = ((Kind::Hello, Status::Done), (Kind::Data, Status::Done));
    let (end, busy) = ((Kind::End, Status::Done), (Kind::End, Status::Busy));
    for good in [vec![hello, end], vec![hello, data, data, end], vec![busy], vec![hello, busy]] {
        assert!(runs(&good), "{good:?}");
    }
    let ask = (Kind::Ask, Status::Done);
    for bad in [
        vec![],
        vec![end],
        vec![data, end],
        vec![hello, data],
        vec![hello, end, data],
        vec![hello, ask],
    ] {
        assert!(!runs(&bad), "{bad:?}");
    }
    let mut question = Question::New;
    for kind in [Kind::Hello, Kind::Part, Kind::Part, Kind::Ask] {
        question.take(&of(kind, Status::Done)).unwrap();
    }
    assert_eq!(question, Question::Asked);
    assert!(question.take(&of(Kind::Part, Status::Done)).is_err());
    assert!(Question::New.take(&of(Kind::Ask, Status::Done)).is_err());
}

#[test]
fn versions_meet_or_do_not() {
    let offer = |lowest: u16, highest: u16| {
        common_version([lowest.to_ne_bytes(), highest.to_ne_bytes()].as_flattened())
    };
    assert_eq!(common_version(&versions()), Ok(Some(VERSION)));
    assert_eq!(offer(VERSION, VERSION + 5), Ok(Some(VERSION)));
    assert_eq!(offer(VERSION + 1, VERSION + 2), Ok(None));
    assert!(offer(2, 1).is_err());
    assert!(common_version(&[1]).is_err() && common_version(&[1, 0, 1, 0, 0]).is_err());
}

#[test]
fn a_header_that_says_too_much_is_refused() {
    let header = |len: u32, kind: u8, status: u16| {
        let [a, b, c, d] = len.to_ne_bytes();
        let [low, high] = status.to_ne_bytes();
        let mut bytes = [a, b, c, d, kind, 0, low, high];
        bytes[CHECK_AT] = check(&bytes);
        Header::decode(&bytes).map_err(|error| error.what)
    };
    assert_eq!(header(BODY_MAX as u32 + 1, 4, 0), Err("frame is too long"));
    assert_eq!(header(u32::MAX, 4, 0), Err("frame is too long"));
    assert_eq!(header(1, 7, 0), Err("unknown kind of frame"));
    assert_eq!(header(1, 6, 9), Err("unknown status"));
    assert_eq!(header(1, 4, 7), Err("status in a frame that has none"));
    assert!(header(BODY_MAX as u32, 6, 7).is_ok());
}

fn any_ask() -> impl Strategy<Value = (Ask<'static>, Option<String>)> {
    let numbers = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()));
    let rest = (option::of(any::<(u64, u64)>()), any::<(bool, bool, bool)>(), select(Format::ALL));
    let keys = option::of(any::<String>().prop_filter("short", |text| text.len() < 1000));
    (select(Verb::ALL), numbers, rest, keys).prop_map(
        |(verb, (limit, max, top), (namespace, (dry_run, confirmed, remote), format), keys)| {
            let plain = Ask::new(verb);
            let ask =
                Ask { namespace, limit, max, dry_run, confirmed, format, top, remote, ..plain };
            (ask, keys)
        },
    )
}

fn encoded(ask: &Ask<'_>) -> Vec<u8> {
    let mut counting = Writer::counting();
    ask.encode(&mut counting);
    let mut bytes = vec![0; counting.position()];
    let mut writer = Writer::new(&mut bytes);
    ask.encode(&mut writer);
    writer.finish().unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_ask_comes_back_and_is_refused_when_cut((ask, keys) in any_ask()) {
        let ask = Ask { keys: keys.as_deref(), ..ask };
        let bytes = encoded(&ask);
        prop_assert_eq!(Ask::decode(&bytes), Ok(ask));
        for cut in 0..bytes.len() {
            // Cut between two fields, the rest is another valid request: only the frame's length shows the cut.
            if let Ok(less) = Ask::decode(&bytes[..cut]) {
                prop_assert!(encoded(&less).len() == cut);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = read(&bytes);
        let _ = Tally::decode(&bytes);
        let _ = common_version(&bytes);
        if let Ok(ask) = Ask::decode(&bytes) {
            let again = encoded(&ask);
            prop_assert_eq!(Ask::decode(&again), Ok(ask));
        }
    }

    #[test]
    fn a_tally_comes_back(numbers in any::<[u64; 5]>()) {
        let [matched, table, deleted, ended, refused] = numbers;
        let tally = Tally { matched, table, deleted, ended, refused };
        let bytes = tally.encode();
        prop_assert_eq!(Tally::decode(&bytes), Ok(tally));
        prop_assert!(Tally::decode(&bytes[1..]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert!(Tally::decode(&longer).is_err());
    }
}

#[test]
fn fields_that_nobody_knows_are_refused() {
    let with = |field: &[u8]| {
        let mut bytes = encoded(&Ask::new(Verb::Delete));
        bytes.extend_from_slice(field);
        Ask::decode(&bytes).is_ok()
    };
    let field = |number: u16, value: &[u8]| {
        let len = (value.len() as u16).to_ne_bytes();
        [&number.to_ne_bytes()[..], &len, value].concat()
    };
    assert!(with(&field(3, &[0; 8])));
    assert!(!with(&field(3, &[0; 7])));
    assert!(!with(&field(0, &[])) && !with(&field(10, &[])) && !with(&field(999, &[])));
    assert!(!with(&[field(4, &[]), field(4, &[])].concat()));
    assert!(!with(&field(6, &[1, 1])) && !with(&field(7, &[0xff])));
}

//! What the kernel alone costs: the work of `conntrack` without conntrack, for `cargo xtask bench cli`.
//!
//! ```text
//! floor fill N            makes N established TCP flows, in batches
//! floor dump              reads the table, and only counts
//! floor pick PORT         the same of the flows to one port, which the kernel picks
//! floor delete N          deletes the flows that `fill N` makes, in batches; those of one port with `delete N PORT`
//! floor flush             empties the table
//! floor packets N RATE    N new UDP flows on loopback, one packet each, so many a second
//! ```
//!
//! Each prints how many it met, and the seconds it took.

use ctnetlink::flow::{Known, ProtoState, Status, TcpFlags, TcpState};
use ctnetlink::request::{self, IfExists, Selection, Source};
use ctnetlink::tuple::{FAMILY_IPV4, ipproto};
use ctnetlink::uapi::filter::flag;
use ctnetlink::{Flow, FlowKey, Tuple};
use host::exchange::writes::{WriteOutcome, Writes};
use host::table::Table;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const ESTABLISHED: u8 = 3;
/// Ports that flows go to, from this one on.
const PORTS: u32 = 100;
const FIRST_PORT: u16 = 1000;
/// `IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL`.
const FLAGS: TcpFlags = TcpFlags { flags: 10, mask: 10 };

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<u32>().map_err(|_| io::ErrorKind::InvalidInput);
    let start = Instant::now();
    let met = match *words {
        ["fill", n] => fill(number(n)?)?,
        ["dump"] => read(&Selection::default().with(|selection| selection.family = FAMILY_IPV4))?,
        ["pick", port] => read(&to_port(number(port)? as u16))?,
        ["delete", n] => delete((0..number(n)?).collect())?,
        ["delete", n, port] => {
            let port = number(port)? as u16;
            delete((0..number(n)?).filter(|n| tuple(*n).ports().1 == port).collect())?
        }
        ["flush"] => {
            Table::open()?.ask(|w, t| request::flush(w, t, &Selection::default()), |_| Ok(()))?;
            0
        }
        ["packets", n, rate] => packets(number(n)?, number(rate)?)?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    println!("{met} {:.6}", start.elapsed().as_secs_f64());
    Ok(())
}

fn tuple(n: u32) -> Tuple {
    let [_, b, c, d] = n.to_be_bytes();
    let to = [172, 16, 0, 1 + (n % 250) as u8];
    let port = FIRST_PORT + (n % PORTS) as u16;
    Tuple::v4([10, b, c, d], to, ipproto::TCP).with_ports(1024 + (n % 60_000) as u16, port)
}

fn flow(n: u32) -> Flow {
    let state = TcpState { state: ESTABLISHED, wscale: None, flags: Some([FLAGS; 2]) };
    Flow {
        status: Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED,
        timeout_s: 3600,
        known: Known::STATUS | Known::TIMEOUT,
        proto: ProtoState::Tcp(state),
        reply: tuple(n).inverted(),
        ..Flow::new(tuple(n))
    }
}

fn to_port(port: u16) -> Selection {
    let wanted = Tuple::v4([0; 4], [0; 4], ipproto::TCP).with_ports(0, port);
    let bits = flag::PROTO_NUM | flag::PROTO_DST_PORT;
    let tuples = Some([(wanted, bits), (wanted, 0)]);
    Selection::default().with(|selection| {
        selection.family = FAMILY_IPV4;
        selection.tuples = tuples;
    })
}

fn read(selection: &Selection) -> io::Result<u32> {
    let mut met = 0;
    Table::open()?.dump(
        |w, seq| request::dump(w, seq, Source::Table, selection),
        |_| {
            met += 1;
            Ok(())
        },
    )?;
    Ok(met)
}

fn settled((): (), came: WriteOutcome<'_>, met: &mut u32) -> io::Result<()> {
    *met += u32::from(came.errno == 0);
    Ok(())
}

fn fill(count: u32) -> io::Result<u32> {
    let mut writes = Writes::open()?;
    let mut met = 0;
    for n in 0..count {
        let flow = flow(n);
        writes.push(
            (),
            |w, t, ()| request::create(w, t, &flow, IfExists::Fail),
            |note, came| settled(note, came, &mut met),
        )?;
    }
    writes.flush(|note, came| settled(note, came, &mut met))?;
    Ok(met)
}

fn delete(numbers: Vec<u32>) -> io::Result<u32> {
    let mut writes = Writes::open()?;
    let mut met = 0;
    for n in numbers {
        let key = FlowKey::new(tuple(n), 0);
        writes.push(
            (),
            |w, t, ()| request::delete(w, t, &key, None),
            |note, came| settled(note, came, &mut met),
        )?;
    }
    writes.flush(|note, came| settled(note, came, &mut met))?;
    Ok(met)
}

/// Distinct destinations make distinct flows. Packets beyond the rate wait.
fn packets(count: u32, rate: u32) -> io::Result<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let start = Instant::now();
    for n in 0..count {
        if n % 32 == 0 {
            let due = start + Duration::from_secs_f64(f64::from(n) / f64::from(rate));
            while Instant::now() < due {
                std::hint::spin_loop();
            }
        }
        let [_, b, c, d] = (0x0001_0000 + n).to_be_bytes();
        socket.send_to(b"hi", (Ipv4Addr::new(127, b, c, d), 5000))?;
    }
    Ok(count)
}

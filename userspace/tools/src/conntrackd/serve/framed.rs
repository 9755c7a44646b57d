//! What the daemon answers in the framed protocol: operations on its table by filter.
//!
//! ```text
//!  request --> Program --Order::Query, slice by slice--> shard(s) --> flows, or identities with ids
//!                                                                          |
//!  DATA, NOTE, END <-- this task <-- deletes, on a thread of their own ----+
//! ```

use super::Service;
use crate::conf::diagnostic::quoted;
use crate::conntrackd::plan::Purpose;
use crate::filter::{Limits, Sealed, parse};
use crate::grouping::{self, Groups};
use crate::print::conntrack::{self, Root, Style};
use crate::print::difference;
use engine::Side;
use engine::message_id::PeerId;
use engine::query::{Gap, Program, gap};
use host::clock;
use host::control::Client;
use host::control::framed::{Received, Refusal, namespace};
use host::fleet::Handle;
use host::removal::{self, Removed, Victim};
use host::shard::{Order, Place, Query, QueryAnswer, TableState, Trust, Want};
use std::sync::Arc;
use tokio::sync::oneshot;
use wire::control::framed::{Ask, Format, Status, Tally, Verb};

/// Flows copied out of a table at a time.
const PAGE_FLOWS: usize = 1024;
/// Flows that a dry run shows.
const EXAMPLES: usize = 3;
/// Rendered flows are sent when they are so many bytes.
const PIECE_BYTES: usize = 48 << 10;
/// Deleted at most, if the client names no limit.
const MAX_DEFAULT: u64 = 100_000;

/// How a request came to its end: the status, and the body.
type Ended = Result<Vec<u8>, (Status, Vec<u8>)>;

fn refused((status, text): Refusal) -> (Status, Vec<u8>) {
    (status, text.into_bytes())
}

fn failed(why: impl std::fmt::Display) -> (Status, Vec<u8>) {
    (Status::Failed, why.to_string().into_bytes())
}

fn busy() -> (Status, Vec<u8>) {
    (Status::Busy, super::Ended.to_string().into_bytes())
}

impl Service {
    /// Serves one request of the framed protocol.
    pub(super) async fn framed(&self, client: &mut Client) -> std::io::Result<()> {
        // Filters may be large: a few are read and run at once, the others wait.
        let _place = self.framed.acquire().await.map_err(std::io::Error::other)?;
        let ended = match client.framed_request().await {
            Ok(received) => self.operate(client, &received).await,
            Err(refusal) => Err(refused(refusal)),
        };
        match ended {
            Ok(body) => client.end(Status::Done, &body).await,
            Err((status, body)) => client.end(status, &body).await,
        }
    }

    async fn operate(&self, client: &mut Client, received: &Received) -> Ended {
        let malformed = |why: ctnetlink::DecodeError| (Status::Malformed, why.to_string());
        let ask = Ask::decode(&received.ask).map_err(malformed).map_err(refused)?;
        if ask.namespace.is_some_and(|wanted| namespace() != Some(wanted)) {
            let why = "the daemon works in another network namespace";
            return Err((Status::Namespace, why.into()));
        }
        if self.facts().purpose == Purpose::Helper {
            return Err((Status::NoTable, "the daemon only serves helpers".into()));
        }
        if ask.verb == Verb::TakeOver {
            return self.take_over(&received.filter).await;
        }
        if ask.verb == Verb::Diff {
            return self.diff(client, &ask, &received.filter).await;
        }
        if ask.remote && ask.verb == Verb::Delete {
            let why =
                "the flows of the remote table are not in this kernel: there is nothing to delete";
            return Err((Status::Malformed, why.into()));
        }
        let program = program(&received.filter)?;
        let engine = self.engine.read().await.clone();
        let side = if ask.remote { Side::Remote } else { Side::Local };
        let mut work = Work { engine, program, side, client, trusted: false };
        match ask.verb {
            Verb::TakeOver | Verb::Diff => Ok(Vec::new()),
            Verb::List => work.list(&ask).await,
            Verb::Count => work.count(&ask).await,
            Verb::Delete => {
                let ended = work.delete(&ask).await;
                let filter = quoted(&received.filter);
                if let Ok(Some(tally)) = ended.as_ref().map(|body| Tally::decode(body).ok())
                    && !ask.dry_run
                {
                    let Tally { deleted, ended, refused, .. } = tally;
                    self.log.notice(format!(
                        "flows deleted from the kernel by request ({filter}): {deleted}, had ended: {ended}, \
                         refused: {refused}"
                    ));
                }
                ended
            }
        }
    }
}

impl Service {
    /// Takes over the flows of a peer, and waits until that is done.
    async fn take_over(&self, name: &str) -> Ended {
        let peer = self.peer(name)?;
        self.log.notice(format!("takeover of the flows of {name} requested"));
        let (reply, outcome) = oneshot::channel();
        let command = engine::Command::TakeOver(peer);
        self.engine.read().await.order(Order::Command(command, reply));
        match outcome.await {
            Ok(Ok(())) => Ok(Tally::default().encode().to_vec()),
            Ok(Err(why)) => Err(failed(why)),
            Err(_) => Err(busy()),
        }
    }
}

impl Service {
    fn peer(&self, name: &str) -> Result<PeerId, (Status, Vec<u8>)> {
        let names = self.facts().peers.clone();
        names.iter().position(|peer| peer == name).map(PeerId::at).ok_or_else(|| {
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            failed(format!("there is no peer `{name}` (there is: {there})"))
        })
    }

    /// Compares what is held of a peer with what it has. The tally counts what differs, and the peer's flows.
    async fn diff(&self, client: &mut Client, ask: &Ask<'_>, name: &str) -> Ended {
        let (reply, found) = oneshot::channel();
        self.engine.read().await.order(Order::Compare(self.peer(name)?, reply));
        let found = found.await.map_err(|_| busy())?.map_err(failed)?;
        for note in difference::notes(&found, name) {
            client.send_note(&note).await.map_err(failed)?;
        }
        let data = match ask.format {
            Format::Json => difference::json(&found, name),
            _ => difference::text(&found),
        };
        client.send_data(data.as_bytes()).await.map_err(failed)?;
        let [_, there] = found.rows;
        let tally =
            Tally { matched: difference::count(&found), table: there.into(), ..Tally::default() };
        Ok(tally.encode().to_vec())
    }
}

/// A filter in normal form, ready to run over the table.
fn program(filter: &str) -> Result<Arc<Program>, (Status, Vec<u8>)> {
    let wrong = |error: crate::filter::Error| (Status::Filter, error.to_json(filter).into_bytes());
    let parsed = parse(filter, &Limits::NORMAL, &mut Sealed).map_err(wrong)?;
    let unknown = |term: &_| match gap(term)? {
        Gap::Never(why) => Some(why),
        Gap::Counters | Gap::Left => Some("the table does not tell it; the kernel does"),
        Gap::Began => None,
    };
    parsed.check(unknown).map_err(wrong)?;
    let program = Program::new(&parsed.expr).map_err(|_| failed("the filter is too large"))?;
    Ok(Arc::new(program))
}

/// A request being carried out.
struct Work<'a> {
    engine: Handle,
    program: Arc<Program>,
    side: Side,
    client: &'a mut Client,
    /// Whether the client has received how far the table can be trusted.
    trusted: bool,
}

impl Work<'_> {
    /// The answer of one shard, or a page of it.
    async fn query(&mut self, from: Place, want: Want) -> Result<QueryAnswer, (Status, Vec<u8>)> {
        let (reply, answer) = oneshot::channel();
        let program = Arc::clone(&self.program);
        let side = self.side;
        self.engine.order(Order::Query(Query { side, program, from, want, reply }));
        let answer = answer.await.map_err(|_| busy())?;
        let Some(trust) = answer.trust else {
            let why = match side {
                Side::Local => "the daemon keeps no table of flows",
                Side::Remote => "the daemon keeps no table of the flows of peers",
            };
            return Err((Status::NoTable, why.into()));
        };
        if matches!(trust.state, TableState::Loading { .. }) {
            let why = "the daemon is reading the kernel's table for the first time";
            return Err((Status::NoTable, why.into()));
        }
        if !std::mem::replace(&mut self.trusted, true) {
            for note in notes(&trust) {
                self.client.send_note(&note).await.map_err(failed)?;
            }
        }
        Ok(answer)
    }

    async fn list(&mut self, ask: &Ask<'_>) -> Ended {
        let limit = ask.limit.unwrap_or(u64::MAX);
        let mut out = Rendered::new(ask.format);
        let mut tally = Tally::default();
        let mut next = Some(Place::default()).filter(|_| limit > 0);
        while let Some(from) = next {
            let most = usize::try_from(limit - tally.matched).unwrap_or(usize::MAX);
            let answer = self.query(from, Want::Flows(PAGE_FLOWS.min(most))).await?;
            tally.matched += answer.matched;
            tally.table += answer.looked_at;
            for (flow, _) in &answer.flows {
                out.add(flow);
                if out.bytes.len() >= PIECE_BYTES {
                    self.client.send_data(&out.take()).await.map_err(failed)?;
                }
            }
            next = answer.next.filter(|_| tally.matched < limit);
        }
        self.client.send_data(&out.end()).await.map_err(failed)?;
        Ok(tally.encode().to_vec())
    }

    async fn count(&mut self, ask: &Ask<'_>) -> Ended {
        let keys = ask.keys.map(grouping::keys).transpose();
        let mut groups = keys.map_err(|why| (Status::Malformed, why.into_bytes()))?.map(Groups::by);
        let want = if groups.is_some() { Want::Flows(PAGE_FLOWS) } else { Want::Count };
        let mut tally = Tally::default();
        let mut next = Some(Place::default());
        while let Some(from) = next {
            let answer = self.query(from, want).await?;
            tally.matched += answer.matched;
            tally.table += answer.looked_at;
            if let Some(groups) = &mut groups {
                answer.flows.iter().for_each(|(flow, _)| groups.count(flow));
            }
            next = answer.next;
        }
        if let Some(groups) = groups {
            let top = ask.top.map(|top| usize::try_from(top).unwrap_or(usize::MAX));
            let text = match ask.format {
                Format::Json => groups.json(top).to_string(),
                _ => groups.text(top),
            };
            self.client.send_data(text.as_bytes()).await.map_err(failed)?;
        }
        Ok(tally.encode().to_vec())
    }

    async fn delete(&mut self, ask: &Ask<'_>) -> Ended {
        let max = ask.max.unwrap_or(MAX_DEFAULT);
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        let mut victims: Vec<Victim> = Vec::new();
        let mut tally = Tally::default();
        let mut next = Some(Place::default());
        while let Some(from) = next {
            let want = Want::Victims(if ask.dry_run { 0 } else { most - victims.len() });
            let answer = self.query(from, want).await?;
            tally.matched += answer.matched;
            tally.table += answer.looked_at;
            victims.extend(answer.victims);
            next = answer.next;
        }
        let too_many = tally.matched > max;
        if ask.dry_run {
            self.examples().await?;
            return Ok(tally.encode().to_vec());
        }
        if too_many || (!ask.confirmed && tally.matched > tally.table / 2) {
            return Err((Status::Limit, tally.encode().to_vec()));
        }
        let removed = tokio::task::spawn_blocking(move || removal::remove(victims)).await;
        let Removed { deleted, ended, refused, errno } =
            removed.map_err(failed)?.map_err(failed)?;
        if refused > 0 {
            let why = format!("the kernel says: {}", std::io::Error::from_raw_os_error(errno));
            self.client.send_note(&why).await.map_err(failed)?;
        }
        Ok(Tally { deleted, ended, refused, ..tally }.encode().to_vec())
    }

    /// Shows a few of the flows.
    async fn examples(&mut self) -> Result<(), (Status, Vec<u8>)> {
        let mut out = Rendered::new(Format::Text);
        let mut left = EXAMPLES;
        let mut next = Some(Place::default());
        while let Some(from) = next.filter(|_| left > 0) {
            let answer = self.query(from, Want::Flows(left)).await?;
            left -= answer.flows.len().min(left);
            answer.flows.iter().for_each(|(flow, _)| out.add(flow));
            next = answer.next;
        }
        self.client.send_data(&out.end()).await.map_err(failed)
    }
}

/// What people must know of an answer that a table gave for the kernel.
fn notes(trust: &Trust) -> Vec<String> {
    let mut out = Vec::new();
    if trust.incomplete {
        out.push("not all flows of the peers are known to be here (ctflow status)".into());
    }
    if let Some((ago, _)) = trust.state.loss() {
        let (word, seconds) = (trust.state.word(), ago.as_secs());
        out.push(format!(
            "the table is {word} since {seconds} s; use --kernel to ask the kernel itself"
        ));
    }
    if trust.filtered {
        out.push(
            "the configured Filter keeps flows out of the table; --kernel asks the kernel itself"
                .into(),
        );
    }
    if trust.no_room > 0 {
        let flows = trust.no_room;
        out.push(format!(
            "{flows} flows found no room in the table; --kernel asks the kernel itself"
        ));
    }
    out
}

/// Flows as they are shown.
struct Rendered {
    style: Style<'static>,
    bytes: Vec<u8>,
    begun: bool,
    now_ns: u64,
}

impl Rendered {
    fn new(format: Format) -> Self {
        let format = match format {
            Format::Text => conntrack::Format::Plain,
            Format::Json => conntrack::Format::Json,
            Format::Xml => conntrack::Format::Xml,
        };
        let style = Style { format, ..Style::default() };
        Self { style, bytes: Vec::new(), begun: false, now_ns: clock::wall_ns() }
    }

    fn add(&mut self, flow: &ctnetlink::Flow) {
        if !std::mem::replace(&mut self.begun, true) {
            conntrack::list_begin(&mut self.bytes, &self.style, Root::Conntrack);
        }
        // What the table knows of it is how much was left when its last news came.
        let mut flow = flow.clone();
        flow.known.remove(ctnetlink::flow::Known::TIMEOUT);
        conntrack::table_flow(&mut self.bytes, &self.style, &flow, self.now_ns);
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    fn end(mut self) -> Vec<u8> {
        // As `conntrack` does: an empty list of elements is nothing, an empty array is one.
        if self.begun || self.style.format == conntrack::Format::Json {
            conntrack::list_end(&mut self.bytes, &self.style, Root::Conntrack, self.begun);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_table_that_cannot_vouch_for_the_kernel_says_why() {
        let exact =
            Trust { state: TableState::Exact, filtered: false, no_room: 0, incomplete: false };
        assert!(notes(&exact).is_empty());
        let ago = Duration::from_millis(3900);
        let state = TableState::Degraded { ago, lost: 7 };
        let words = "the table is degraded since 3 s; use --kernel to ask the kernel itself";
        assert_eq!(notes(&Trust { state, ..exact }), [words]);
        let all = notes(&Trust { state, filtered: true, no_room: 12, ..exact });
        assert_eq!(all.len(), 3);
        assert!(
            all[1].contains("Filter") && all[2].starts_with("12 flows found no room"),
            "{all:?}"
        );
    }

    #[test]
    fn a_filter_that_the_table_cannot_answer_is_refused_with_its_place() {
        let refusal = |filter: &str| {
            let (status, body) = program(filter).unwrap_err();
            (status, String::from_utf8(body).unwrap())
        };
        for (filter, kind, column) in [
            ("tcp and bytes > 5", "not-known", 9),
            ("left < 5s", "not-known", 1),
            ("iif eth0", "not-known", 1),
            ("tcp or udp and ip", "mixed-and-or", 5),
            ("port http", "bad-port", 6),
            ("src @/etc/hosts", "set-unreadable", 5),
        ] {
            let (status, body) = refusal(filter);
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            let error = &json["error"];
            assert_eq!(status, Status::Filter, "{filter}");
            assert_eq!(
                (&error["kind"], &error["column"]),
                (&kind.into(), &column.into()),
                "{body}"
            );
        }
        assert!(program("tcp and age > 5s").is_ok());
    }
}

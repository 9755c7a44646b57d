//! Questions that clients ask beside what they subscribe to.

use super::{Hub, TICK};
use crate::feed::queue::Piece;
use crate::feed::request::Format;
use crate::feed::subscriber::Subscriber;
use crate::feed::{Product, Question, lines};
use ctnetlink::FlowKey;
use engine::Side;
use engine::query::{Expr, Program};
use host::fleet::Handle;
use host::shard::{Order, Place, Query, QueryAnswer, Want};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::feed::queue::Queue;

impl Hub {
    /// Sends a client the present state of a flow.
    pub(super) fn get(&self, id: u64, side: Side, flow: &str) {
        let Some((queue, format)) = self.reader(id) else { return };
        let Some(key) = self.product.identity(flow) else {
            let refusal = ("request", "this is no flow: protonum and orig are wanted".to_owned());
            queue.push(Piece::Line(lines::framed(format, &lines::error(&refusal))));
            return;
        };
        let (engine, product) = (self.engine.clone(), Arc::clone(&self.product));
        spawn_local(async move {
            let value = match timeout(TICK, find(&engine, side, key)).await.ok().flatten() {
                None => lines::error(&("busy", "the engine does not answer".to_owned())),
                Some(answer) => flow_answer(product.as_ref(), answer),
            };
            queue.push(Piece::Line(lines::framed(format, &value)));
        });
    }

    /// Where answers to a client go, and in which form; `None` if it has gone, or asks and does not read the answers.
    fn reader(&self, id: u64) -> Option<(Rc<Queue>, Format)> {
        let queue = self.queues.get(&id).cloned()?;
        let format = self.clients.get(&id).map_or(Format::Json, Subscriber::format);
        (queue.len() <= self.settings.queue_bytes / 2).then_some((queue, format))
    }

    pub(super) fn ask(&self, id: u64, question: Question) {
        let Some((queue, format)) = self.reader(id) else { return };
        let product = Arc::clone(&self.product);
        spawn_local(async move {
            let answer = product.answer(question).await;
            let value = match question {
                Question::Status => match serde_json::from_str::<Value>(&answer) {
                    Ok(status) => json!({"v": 1, "control": "status", "status": status}),
                    Err(_) => lines::error(&("busy", answer)),
                },
                Question::Ready => json!({"v": 1, "control": "ready", "ready": answer.trim_end()}),
            };
            queue.push(Piece::Line(lines::framed(format, &value)));
        });
    }
}

/// What is said of a flow that was found, or was not.
fn flow_answer(product: &dyn Product, answer: QueryAnswer) -> Value {
    let flow = answer.flows.first();
    let object = flow.map(|(flow, _)| product.object(flow));
    let object = object.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let known_s = flow.map(|(_, age)| age.active_s);
    let mut value = json!({"v": 1, "control": "flow", "flow": object, "known_s": known_s});
    let Some(found) = answer.found else { return value };
    let peers = found.reach.iter().map(|one| {
        let peer = one.peer.and_then(|peer| product.peer(peer));
        let waits_ms = one.waits.map(|waits| waits.as_millis() as u64);
        json!({"peer": peer, "state": one.reach.name(), "waits_ms": waits_ms})
    });
    value["replication"] = peers.collect();
    let doubts = [("silent", found.is_silent), ("unsure", found.is_unsure)];
    value["doubts"] = doubts.iter().filter(|(_, has)| *has).map(|(word, _)| *word).collect();
    value
}

/// Looks a flow up in the tables of all shards; `None` if no shard answers.
async fn find(engine: &Handle, side: Side, key: FlowKey) -> Option<QueryAnswer> {
    let program = Arc::new(Program::new(&Expr::Everything).ok()?);
    let mut next = Some(Place::default());
    while let Some(from) = next {
        let (reply, answer) = oneshot::channel();
        let (program, want) = (Arc::clone(&program), Want::One(key));
        engine.order(Order::Query(Query { side, program, from, want, reply }));
        let answer = answer.await.ok()?;
        if !answer.flows.is_empty() {
            return Some(answer);
        }
        next = answer.next;
    }
    Some(QueryAnswer::default())
}

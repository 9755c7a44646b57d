//! Questions that clients ask beside what they subscribe to.

use super::Hub;
use crate::feed::queue::Piece;
use crate::feed::request::Format;
use crate::feed::subscriber::Subscriber;
use crate::feed::{Question, lines};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::spawn_local;

impl Hub {
    pub(super) fn ask(&self, id: u64, question: Question) {
        let Some(queue) = self.queues.get(&id).cloned() else { return };
        let product = Arc::clone(&self.product);
        let format = self.clients.get(&id).map_or(Format::Json, Subscriber::format);
        // Who asks and does not read the answers is not answered.
        if queue.len() > self.settings.queue_bytes / 2 {
            return;
        }
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

//! The connection of one client: lines it says go to the hub, pieces of its queue go to it.

use super::Stats;
use super::queue::{Piece, Queue};
use super::request::{self, Format, LINE_MAX, Request};
use super::{lines, parse_request};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the answer may take for a client that has closed its half of the connection.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// A message to the hub.
pub(super) enum Word {
    /// A client says something; who it is.
    Says(u64, String, Box<Request>),
    /// A client has gone.
    Gone(u64),
}

/// What a connection works with.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) hub: mpsc::Sender<Word>,
    pub(super) queue: Rc<Queue>,
    pub(super) stats: std::sync::Arc<Stats>,
    /// The client's name for the log.
    pub(super) who: String,
}

/// Serves a client until it closes the connection or the hub closes it.
pub(super) async fn serve(stream: UnixStream, connection: Connection) {
    let (reader, writer) = stream.into_split();
    let (id, hub) = (connection.id, connection.hub.clone());
    let queue = Rc::clone(&connection.queue);
    tokio::select! {
        () = listen(reader, connection) => {}
        _ = write(writer, &queue) => {}
    }
    // When the hub is gone, the send fails, which is no error.
    let _ = hub.send(Word::Gone(id)).await;
}

/// Writes the queue to the client; ends when the queue does, or when the client stops reading.
async fn write(mut writer: OwnedWriteHalf, queue: &Queue) -> io::Result<()> {
    loop {
        let piece = queue.next().await;
        if matches!(piece, Piece::End) {
            return writer.shutdown().await;
        }
        writer.write_all(piece.bytes()).await?;
        queue.written(piece.bytes().len());
    }
}

/// Takes what the client says; ends when it goes.
async fn listen(reader: OwnedReadHalf, connection: Connection) {
    let Connection { id, hub, queue, stats, who } = connection;
    let mut reader = BufReader::new(reader);
    let mut first = true;
    loop {
        let read = line(&mut reader);
        let read = match first {
            true => timeout(PATIENCE, read)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            false => read.await,
        };
        let understood = match &read {
            Ok(None) => return ended(first).await,
            Ok(Some(line)) => parse_request(line),
            Err(error) => Err(("request", format!("no line of at most {LINE_MAX} bytes: {error}"))),
        };
        let request = match understood {
            Ok(request) if first || !matches!(request, Request::Subscribe(_)) => request,
            Ok(_) => {
                return refuse(&queue, &stats, &("request", "it has subscribed already".into()))
                    .await;
            }
            Err(refusal) => return refuse(&queue, &stats, &refusal).await,
        };
        first &= !matches!(request, Request::Subscribe(_));
        let is_last = request == Request::Bye;
        if hub.send(Word::Says(id, who.clone(), Box::new(request))).await.is_err() || is_last {
            return;
        }
    }
}

/// A client that has closed its half may read on. A write to it shows that it has gone; a client that has not
/// subscribed receives only what it has asked for.
async fn ended(first: bool) {
    if first {
        tokio::time::sleep(LAST_ANSWER).await;
    } else {
        std::future::pending::<()>().await;
    }
}

/// Says why, and waits until that was read.
async fn refuse(queue: &Queue, stats: &Stats, refusal: &request::Refusal) {
    stats.misunderstood.fetch_add(1, Relaxed);
    queue.push(Piece::Line(lines::framed(Format::Json, &lines::error(refusal))));
    queue.push(Piece::End);
    std::future::pending::<()>().await;
}

/// The next line, without its end; `None` at the end of the stream.
async fn line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(LINE_MAX as u64).read_until(b'\n', &mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() + 1 < LINE_MAX => Ok(None),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer")),
    }
}

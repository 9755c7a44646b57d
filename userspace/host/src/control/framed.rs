//! Both ends of the framed protocol (`wire::control::framed`): the daemon's on tokio, the client's blocking.

use super::{CLIENT_PATIENCE, Client};
use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
use std::io::{self, Read, Write};
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use wire::control::Request;
use wire::control::framed::{
    Answer, Ask, BODY_MAX, FILTER_MAX, HEADER_LEN, Header, Kind, Question, Status, VERSION,
    common_version, versions,
};

/// How long the daemon may take for the next frame: a large table, or a large delete.
const DAEMON_PATIENCE: Duration = Duration::from_secs(120);

/// The network namespace of the calling thread: device and inode of its file. By these, two processes find out whether
/// they are in the same one. `None` without `/proc`.
#[must_use]
pub fn namespace() -> Option<(u64, u64)> {
    let file = std::fs::metadata("/proc/thread-self/ns/net").ok()?;
    Some((file.st_dev(), file.st_ino()))
}

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The filter.
    pub filter: String,
    /// The body that [`Ask::decode`] understands.
    pub ask: Vec<u8>,
}

/// Why a request is not carried out: the status, and text.
pub type Refusal = (Status, String);

fn malformed(why: impl std::fmt::Display) -> Refusal {
    (Status::Malformed, why.to_string())
}

impl Client {
    /// Reads a request, and answers its HELLO.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn framed_request(&mut self) -> Result<Received, Refusal> {
        let mut question = Question::New;
        let mut received = Received::default();
        let mut filter = Vec::new();
        while question != Question::Asked {
            let (header, body) = self.frame().await?;
            question.take(&header).map_err(malformed)?;
            match header.kind {
                Kind::Hello => {
                    let version = common_version(&body).map_err(malformed)?;
                    let theirs = || format!("this daemon speaks version {VERSION} alone");
                    let version = version.ok_or_else(|| (Status::Version, theirs()))?;
                    let version = version.to_ne_bytes();
                    self.send(Kind::Hello, Status::Done, &version).await.map_err(malformed)?;
                }
                Kind::Part if filter.len() + body.len() > FILTER_MAX => {
                    return Err(malformed(format_args!("the filter is longer than {FILTER_MAX}")));
                }
                Kind::Part => filter.extend_from_slice(&body),
                _ => received.ask = body,
            }
        }
        received.filter = String::from_utf8(filter).map_err(|_| malformed("filter is no text"))?;
        Ok(received)
    }

    async fn frame(&mut self) -> Result<(Header, Vec<u8>), Refusal> {
        let read = async {
            let mut head = [0; HEADER_LEN];
            self.stream.read_exact(&mut head).await.map_err(malformed)?;
            let header = Header::decode(&head).map_err(malformed)?;
            let mut body = vec![0; header.len];
            self.stream.read_exact(&mut body).await.map_err(malformed)?;
            Ok((header, body))
        };
        let late = |_| malformed("the request did not come to its end in time");
        timeout(CLIENT_PATIENCE, read).await.map_err(late)?
    }

    async fn send(&mut self, kind: Kind, status: Status, body: &[u8]) -> io::Result<()> {
        let header = Header { len: body.len(), kind, status }.encode();
        self.write(&[&header, body]).await
    }

    /// Sends a piece of the answer, however long.
    ///
    /// # Errors
    /// When the client has gone, or does not read.
    pub async fn send_data(&mut self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(BODY_MAX) {
            self.send(Kind::Data, Status::Done, piece).await?;
        }
        Ok(())
    }

    /// Sends the client a note for its user.
    ///
    /// # Errors
    /// As [`Client::send_data`].
    pub async fn send_note(&mut self, text: &str) -> io::Result<()> {
        self.send(Kind::Note, Status::Done, cut(text)).await
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// As [`Client::send_data`].
    pub async fn end(&mut self, status: Status, body: &[u8]) -> io::Result<()> {
        self.send(Kind::End, status, &body[..body.len().min(BODY_MAX)]).await
    }
}

/// As much of a text as fits a frame.
fn cut(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(BODY_MAX)]
}

/// A piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A piece of the data that was asked for.
    Data(&'a [u8]),
    /// For people.
    Note(&'a [u8]),
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether the daemon did what was asked, and why not.
    pub status: Status,
    /// The result, as bytes.
    pub body: Vec<u8>,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No daemon answers.
    #[error("{0}")]
    Unreachable(io::Error),
    /// The daemon that answers does not speak the framed protocol, and has done nothing.
    #[error("it does not speak the framed protocol")]
    Foreign,
    /// The answer broke off, or could not be used. Something may have been done.
    #[error("{0}")]
    Answer(#[from] io::Error),
}

/// The client's side: sends a request to the daemon at `path`, and hands the pieces of its answer to `each`.
///
/// # Errors
/// [`Failure`]; of [`Failure::Answer`], also what `each` says.
pub fn ask(
    path: &Path,
    filter: &str,
    ask: &Ask<'_>,
    mut each: impl FnMut(Piece<'_>) -> io::Result<()>,
) -> Result<End, Failure> {
    let mut stream = UnixStream::connect(path).map_err(Failure::Unreachable)?;
    stream.set_read_timeout(Some(DAEMON_PATIENCE))?;
    // A daemon that refuses while it is being asked has said why: that is read first.
    let sent = send_question(&mut stream, filter, ask);
    let mut answer = Answer::New;
    loop {
        let mut head = [0; HEADER_LEN];
        if let Err(error) = stream.read_exact(&mut head) {
            let closed = matches!(error.kind(), UnexpectedEof | ConnectionReset);
            if closed && answer == Answer::New {
                return Err(Failure::Foreign);
            }
            sent?;
            return Err(broken_off(error).into());
        }
        let header = Header::decode(&head).map_err(damaged)?;
        answer.take(&header).map_err(damaged)?;
        let mut body = vec![0; header.len];
        stream.read_exact(&mut body).map_err(broken_off)?;
        match header.kind {
            Kind::Data => each(Piece::Data(&body))?,
            Kind::Note => each(Piece::Note(&body))?,
            Kind::End => return Ok(End { status: header.status, body }),
            _ => {}
        }
    }
}

fn send_question(stream: &mut UnixStream, filter: &str, ask: &Ask<'_>) -> io::Result<()> {
    let mut out = Request::Framed.encode().to_vec();
    let mut put = |kind, body: &[u8]| {
        let header = Header { len: body.len(), kind, status: Status::Done };
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(body);
    };
    put(Kind::Hello, &versions());
    filter.as_bytes().chunks(BODY_MAX).for_each(|piece| put(Kind::Part, piece));
    let mut body = vec![0; BODY_MAX];
    let mut writer = ctnetlink::Writer::new(&mut body);
    ask.encode(&mut writer);
    let len = writer.finish().map_err(|_| io::Error::from_raw_os_error(libc::EMSGSIZE))?;
    put(Kind::Ask, &body[..len]);
    stream.write_all(&out)
}

fn damaged(why: ctnetlink::DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the daemon's answer: {why}"))
}

fn broken_off(error: io::Error) -> io::Error {
    match error.kind() {
        UnexpectedEof => io::Error::new(UnexpectedEof, "the daemon broke off its answer"),
        _ => error,
    }
}

#[cfg(test)]
mod tests;

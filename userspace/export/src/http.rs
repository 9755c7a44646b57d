//! Answers over HTTP/1.1: `GET /metrics`, `GET /ready`, `GET /-/healthy`, and nothing else.
//!
//! ```text
//!   address --accept--> allowed? --no--> 403, counted
//!      |  \                `--yes--> one request, one answer, and the connection closes
//!      |   `-- more than 8 at once: closed, counted
//!      `-- cannot be bound: a warning, and tried again every 10 seconds
//! ```
//!
//! Connections run on the caller's tokio runtime. Each ends after one answer, so that an idle client keeps no place;
//! a request has five seconds to come in, an answer ten to go out.

use crate::exposition::Form;
use host::control::listen_for_group;
use host::log::Log;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Bytes that a connection in memory ([`talk`]) holds in each direction.
const PIPE_LEN: usize = 64 << 10;
/// Connections at once, of all addresses together.
pub const CONNECTIONS_MAX: usize = 8;
/// How long a client may take to send its request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long an address that cannot be bound is left alone.
const BIND_AGAIN: Duration = Duration::from_secs(10);
/// How long after a failed `accept(2)` the next one waits: descriptors come back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A socket in the file system, which the owner and the group of the daemon may use.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// An address in it.
    pub address: IpAddr,
    /// How many leading bits all its addresses have in common.
    pub len: u8,
}

impl Network {
    /// Whether an address is in it. An IPv4 address that came in over IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let differ = |a: u128, b: u128, bits: u32| {
            let shift = bits.saturating_sub(self.len.into());
            a.checked_shr(shift).unwrap_or(0) != b.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => !differ(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// The endpoints, and who may use them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Each address is served by itself.
    pub listen: Vec<Listen>,
    /// Networks that may ask over TCP; `None` for all.
    pub allow: Option<Vec<Network>>,
}

impl Settings {
    fn allows(&self, from: Option<IpAddr>) -> bool {
        let Some(from) = from else { return true };
        self.allow.as_ref().is_none_or(|allow| allow.iter().any(|network| network.contains(from)))
    }
}

/// Answers the requests. Each answer must come within a few seconds, whatever the engine does.
pub trait Answers: Send + Sync + 'static {
    /// All metrics.
    fn metrics(&self, form: Form) -> impl Future<Output = String> + Send;

    /// Whether the node is ready, or why it is not.
    fn ready(&self) -> impl Future<Output = Result<(), Vec<String>>> + Send;

    /// Whether the engine's threads answer.
    fn is_healthy(&self) -> impl Future<Output = bool> + Send;
}

/// What became of requests.
#[derive(Debug, Default)]
pub struct HttpCounters {
    answered: AtomicU64,
    forbidden: AtomicU64,
    busy: AtomicU64,
    failed: AtomicU64,
}

/// [`HttpCounters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpCounts {
    /// Requests answered, those for what does not exist included.
    pub answered: u64,
    /// Requests from addresses that may not ask.
    pub forbidden: u64,
    /// Connections closed at once, because there were [`CONNECTIONS_MAX`].
    pub busy: u64,
    /// Connections that ended before their answer was sent: no request in time, one that is not HTTP, or a client
    /// that does not read.
    pub failed: u64,
}

impl HttpCounters {
    /// Their values.
    #[must_use]
    pub fn read(&self) -> HttpCounts {
        HttpCounts {
            answered: self.answered.load(Relaxed),
            forbidden: self.forbidden.load(Relaxed),
            busy: self.busy.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Server {
    tasks: Vec<AbortHandle>,
    paths: Vec<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        for path in &self.paths {
            let _ = fs::remove_file(path);
        }
    }
}

/// Begins to listen. What cannot be bound is warned of and tried again. Must be called inside a tokio runtime.
#[must_use]
pub fn serve<A: Answers>(
    settings: Settings,
    answers: &Arc<A>,
    counters: &Arc<HttpCounters>,
    log: &Arc<Log>,
) -> Server {
    let paths = settings.listen.iter().filter_map(|listen| match listen {
        Listen::Unix(path) => Some(path.clone()),
        Listen::Tcp(_) => None,
    });
    let paths = paths.collect();
    let listens = settings.listen.clone();
    let service = Arc::new(HttpService {
        settings,
        answers: Arc::clone(answers),
        counters: Arc::clone(counters),
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    });
    let begin = |listen| {
        let (service, log) = (Arc::clone(&service), Arc::clone(log));
        tokio::spawn(async move { service.listen(&listen, &log).await }).abort_handle()
    };
    Server { tasks: listens.into_iter().map(begin).collect(), paths }
}

/// What every connection needs.
struct HttpService<A> {
    settings: Settings,
    answers: Arc<A>,
    counters: Arc<HttpCounters>,
    places: Arc<Semaphore>,
}

impl<A: Answers> HttpService<A> {
    async fn listen(self: Arc<Self>, listen: &Listen, log: &Log) {
        let mut warned = false;
        let bound = loop {
            match bind(listen).await {
                Ok(bound) => break bound,
                Err(error) if warned => drop(error),
                Err(error) => {
                    let s = BIND_AGAIN.as_secs();
                    log.warning(format!(
                        "metrics are not served at {listen}: {error}; tried again every {s} seconds"
                    ));
                    warned = true;
                }
            }
            sleep(BIND_AGAIN).await;
        };
        log.notice(format!("metrics are served at {listen}"));
        loop {
            let accepted = match &bound {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, from)| {
                    self.take(TokioIo::new(stream), Some(from.ip()));
                }),
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    self.take(TokioIo::new(stream), None);
                }),
            };
            if accepted.is_err() {
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Serves one connection, if there is a place for it.
    fn take<S>(self: &Arc<Self>, stream: S, from: Option<IpAddr>)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(Arc::clone(self).serve(stream, from, place))),
            Err(_) => count(&self.counters.busy),
        }
    }

    async fn serve<S>(
        self: Arc<Self>,
        stream: S,
        from: Option<IpAddr>,
        _place: OwnedSemaphorePermit,
    ) where
        S: Read + Write + Unpin + Send,
    {
        let answer = service_fn(|request: Request<Incoming>| {
            let service = &self;
            async move { Ok::<_, Infallible>(service.answer(&request, from).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).keep_alive(false);
        let outcome = timeout(PATIENCE, http.serve_connection(stream, answer)).await;
        if !matches!(outcome, Ok(Ok(()))) {
            count(&self.counters.failed);
        }
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        from: Option<IpAddr>,
    ) -> Response<Full<Bytes>> {
        if !self.settings.allows(from) {
            count(&self.counters.forbidden);
            return plain(StatusCode::FORBIDDEN, "this address may not ask (Metrics { Allow })\n");
        }
        count(&self.counters.answered);
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/ready" | "/-/healthy") {
            return plain(StatusCode::NOT_FOUND, "there are /metrics, /ready and /-/healthy\n");
        }
        if request.method() != Method::GET {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
            answer.headers_mut().insert(ALLOW, Method::GET.as_str().parse().expect("it is plain"));
            return answer;
        }
        match path {
            "/metrics" => {
                let accept =
                    request.headers().get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
                let form = Form::preferred(&accept.collect::<Vec<_>>().join(","));
                respond(StatusCode::OK, form.content_type(), self.answers.metrics(form).await)
            }
            "/ready" => match self.answers.ready().await {
                Ok(()) => plain(StatusCode::OK, "ready\n"),
                Err(reasons) => {
                    let lines: String =
                        reasons.iter().map(|why| format!("not ready: {why}\n")).collect();
                    plain(StatusCode::SERVICE_UNAVAILABLE, lines)
                }
            },
            _ if self.answers.is_healthy().await => plain(StatusCode::OK, "healthy\n"),
            _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer\n"),
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

async fn bind(listen: &Listen) -> io::Result<Listener> {
    Ok(match listen {
        Listen::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await?),
        Listen::Unix(path) => Listener::Unix(UnixListener::from_std(listen_for_group(path)?)?),
    })
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let content_type = content_type.parse().expect("it is plain");
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Serves one connection in memory, for fuzzing: a client sends `said`, and closes its side. Returns what the client
/// received, and what the server counted.
///
/// Must be called inside a tokio runtime.
pub async fn talk<A: Answers>(answers: A, said: &[u8]) -> (Vec<u8>, HttpCounts) {
    let (mut client, stream) = duplex(said.len().max(PIPE_LEN));
    let (counters, places) = (Arc::<HttpCounters>::default(), Arc::new(Semaphore::new(1)));
    let service = Arc::new(HttpService {
        settings: Settings::default(),
        answers: Arc::new(answers),
        counters: Arc::clone(&counters),
        places: Arc::clone(&places),
    });
    let mut heard = Vec::new();
    if let Ok(place) = places.try_acquire_owned() {
        let serve = service.serve(TokioIo::new(stream), None, place);
        let ask = async {
            // A server that does not want all of it may have closed the connection.
            let _ = client.write_all(said).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut heard).await;
        };
        tokio::join!(serve, ask);
    }
    (heard, counters.read())
}

/// Requests `path` from the server at `listen` and returns the HTTP status of the answer.
///
/// # Errors
/// When no answer comes within `patience`, or the answer is not HTTP.
pub fn status_of(listen: &Listen, path: &str, patience: Duration) -> io::Result<u16> {
    match listen {
        Listen::Tcp(address) => {
            let mut address = *address;
            if address.ip().is_unspecified() {
                // A socket that listens everywhere listens on loopback too.
                address.set_ip(match address.ip() {
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
            }
            let stream = std::net::TcpStream::connect_timeout(&address, patience)?;
            stream.set_read_timeout(Some(patience))?;
            status_over(stream, path)
        }
        Listen::Unix(socket) => {
            let stream = std::os::unix::net::UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(patience))?;
            status_over(stream, path)
        }
    }
}

fn status_over(mut stream: impl io::Read + io::Write, path: &str) -> io::Result<u16> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    // `HTTP/1.1 200`
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let code = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..)).map(<[u8]>::to_vec);
    let code = code.and_then(|code| String::from_utf8(code).ok()?.parse().ok());
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

#[cfg(test)]
mod tests;

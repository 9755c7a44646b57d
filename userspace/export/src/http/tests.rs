//! A server on loopback and plain sockets as its clients.

use super::*;
use host::log::{Form as LogForm, Places};
use std::sync::atomic::AtomicBool;
use tokio::net::{TcpStream, UnixStream};

/// Far more than anything here takes.
const GENEROUS: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Node {
    sick: AtomicBool,
    /// Held while an answer is kept back.
    hold: tokio::sync::Mutex<()>,
}

impl Answers for Node {
    async fn metrics(&self, form: Form) -> String {
        let _held = self.hold.lock().await;
        format!("metrics as {form:?}\n")
    }

    async fn ready(&self) -> Result<(), Vec<String>> {
        if self.sick.load(Relaxed) { Err(vec!["a".into(), "b".into()]) } else { Ok(()) }
    }

    async fn is_healthy(&self) -> bool {
        !self.sick.load(Relaxed)
    }
}

struct Stage {
    node: Arc<Node>,
    counters: Arc<HttpCounters>,
    address: SocketAddr,
    _server: Server,
}

fn log() -> Arc<Log> {
    Arc::new(Log::open(LogForm::Daemon, &Places::default()).expect("a log that goes nowhere"))
}

async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("it is bound")
}

async fn stage(allow: Option<&[&str]>) -> Stage {
    let address = free_address().await;
    let allow = allow.map(|allow| allow.iter().map(|text| network(text)).collect());
    let settings = Settings { listen: vec![Listen::Tcp(address)], allow };
    let (node, counters) = (Arc::<Node>::default(), Arc::<HttpCounters>::default());
    let server = serve(settings, &node, &counters, &log());
    Stage { node, counters, address, _server: server }
}

fn network(text: &str) -> Network {
    let (address, len) = text.split_once('/').expect("a network");
    Network { address: address.parse().expect("an address"), len: len.parse().expect("a length") }
}

impl Stage {
    async fn connect(&self) -> TcpStream {
        timeout(GENEROUS, async {
            loop {
                match TcpStream::connect(self.address).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await
        .expect("it listens")
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        let read = timeout(GENEROUS, stream.read_to_string(&mut answer)).await;
        read.expect("it answers").expect("text");
        answer
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.unwrap_or(0), body.to_owned())
    }
}

#[tokio::test]
async fn three_paths_are_answered_and_nothing_else() {
    let stage = stage(None).await;
    assert_eq!(stage.get("/metrics").await, (200, "metrics as Text\n".into()));
    assert_eq!(stage.get("/metrics?x=1").await.0, 200);
    assert_eq!(stage.get("/ready").await, (200, "ready\n".into()));
    assert_eq!(stage.get("/-/healthy").await, (200, "healthy\n".into()));
    stage.node.sick.store(true, Relaxed);
    assert_eq!(stage.get("/ready").await, (503, "not ready: a\nnot ready: b\n".into()));
    assert_eq!(stage.get("/-/healthy").await.0, 503);
    for path in ["/", "/metrics/", "/../metrics", "/ready/x"] {
        assert_eq!(stage.get(path).await.0, 404, "{path}");
    }
    let post = stage.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET\r\n"), "{post}");
    assert_eq!(stage.counters.read(), HttpCounts { answered: 11, ..HttpCounts::default() });
}

#[tokio::test]
async fn openmetrics_is_for_those_who_ask_for_it() {
    let stage = stage(None).await;
    let accept = "Accept: application/openmetrics-text; version=1.0.0";
    let answer = stage.ask(&format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{accept}\r\n\r\n")).await;
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(kind) && answer.ends_with("metrics as OpenMetrics\n"), "{answer}");
}

#[tokio::test]
async fn who_may_not_ask_is_refused_and_counted() {
    let refusing = stage(Some(&["192.0.2.0/24", "::1/128"])).await;
    assert_eq!(refusing.get("/metrics").await.0, 403);
    assert_eq!(refusing.counters.read(), HttpCounts { forbidden: 1, ..HttpCounts::default() });
    let nobody = stage(Some(&[])).await;
    assert_eq!(nobody.get("/metrics").await.0, 403, "an empty set lets nobody in");
    let allowed = stage(Some(&["192.0.2.0/24", "127.0.0.0/8"])).await;
    assert_eq!(allowed.get("/metrics").await.0, 200);
}

#[tokio::test]
async fn what_is_no_request_costs_its_connection_alone() {
    let stage = stage(None).await;
    for bytes in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /metrics HTTP/9\r\n\r\n"] {
        assert!(!stage.ask(bytes).await.contains("metrics as"), "{bytes:?}");
    }
    // One that goes before it has said anything.
    drop(stage.connect().await);
    assert_eq!(stage.get("/metrics").await.0, 200);
    assert_eq!(stage.counters.read().answered, 1);
}

#[tokio::test]
async fn the_ninth_connection_is_closed_and_counted() {
    let stage = stage(None).await;
    let held = stage.node.hold.lock().await;
    let mut waiting = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = stage.connect().await;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
        waiting.push(stream);
    }
    // Each has its place as soon as its request is counted.
    let counted = async {
        while stage.counters.read().answered < CONNECTIONS_MAX as u64 {
            tokio::task::yield_now().await;
        }
    };
    timeout(GENEROUS, counted).await.expect("all are taken");
    let mut ninth = stage.connect().await;
    let mut byte = [0];
    let read = timeout(GENEROUS, ninth.read(&mut byte)).await.expect("it is closed");
    assert!(!matches!(read, Ok(len) if len > 0));
    assert_eq!(stage.counters.read().busy, 1);
    drop(held);
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("text");
        assert!(answer.ends_with("metrics as Text\n"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_loses_the_connection() {
    let stage = stage(None).await;
    let mut silent = stage.connect().await;
    silent.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("it reads");
    let mut answer = String::new();
    // The clock runs ahead while everybody waits.
    let _ = silent.read_to_string(&mut answer).await;
    assert!(!answer.contains("metrics as"), "{answer}");
    assert_eq!(stage.counters.read().failed, 1);
}

#[tokio::test(start_paused = true)]
async fn an_address_in_use_is_served_when_it_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = taken.local_addr().expect("it is bound");
    let settings = Settings { listen: vec![Listen::Tcp(address)], allow: None };
    let (node, counters) = (Arc::<Node>::default(), Arc::<HttpCounters>::default());
    let server = serve(settings, &node, &counters, &log());
    sleep(BIND_AGAIN * 3).await;
    drop(taken);
    let stage = Stage { node, counters, address, _server: server };
    let connected = async {
        loop {
            match TcpStream::connect(stage.address).await {
                Ok(_) => return,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    };
    timeout(GENEROUS, connected).await.expect("it was tried again");
}

#[tokio::test]
async fn a_socket_in_the_file_system_is_for_owner_and_group_and_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("metrics.sock");
    let settings = || Settings { listen: vec![Listen::Unix(path.clone())], allow: None };
    let (node, counters) = (Arc::<Node>::default(), Arc::<HttpCounters>::default());
    let server = serve(settings(), &node, &counters, &log());
    let connect = async {
        loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let mut stream = timeout(GENEROUS, connect).await.expect("it listens");
    assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o660);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    assert!(answer.ends_with("metrics as Text\n"), "{answer}");
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_client_gets_the_status_or_why_there_is_none() {
    let stage = stage(None).await;
    drop(stage.connect().await);
    let ask = |listen: Listen, path: &'static str| async move {
        let asked = tokio::task::spawn_blocking(move || status_of(&listen, path, GENEROUS));
        asked.await.expect("it does not panic")
    };
    let here = Listen::Tcp(stage.address);
    assert_eq!(ask(here.clone(), "/-/healthy").await.expect("it answers"), 200);
    assert_eq!(ask(here, "/x").await.expect("it answers"), 404);
    let everywhere = (Ipv4Addr::UNSPECIFIED, stage.address.port()).into();
    assert_eq!(ask(Listen::Tcp(everywhere), "/ready").await.expect("it answers"), 200);
    let nowhere = ask(Listen::Tcp(free_address().await), "/ready").await.unwrap_err();
    assert_eq!(nowhere.kind(), io::ErrorKind::ConnectionRefused);
    assert!(ask(Listen::Unix("/nonexistent/socket".into()), "/ready").await.is_err());
}

#[test]
fn networks_hold_addresses_of_their_family() {
    for (net, address, is_in) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.0/24", "::ffff:192.0.2.7", true),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/32", "2001:db9::1", false),
        ("::/0", "2001:db8::1", true),
        ("10.1.2.3/32", "10.1.2.3", true),
    ] {
        let address = address.parse().expect("an address");
        assert_eq!(network(net).contains(address), is_in, "{address} in {net}");
    }
}

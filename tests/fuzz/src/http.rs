//! What a client says to the server of metrics.

use export::exposition::Form;
use export::http::{Answers, talk};
use std::thread::LocalKey;
use tokio::runtime::{Builder, Runtime};

/// A healthy node that is not ready.
struct Node;

impl Answers for Node {
    async fn metrics(&self, _: Form) -> String {
        "metrics\n".into()
    }

    async fn ready(&self) -> Result<(), Vec<String>> {
        Err(vec!["a reason".into()])
    }

    async fn is_healthy(&self) -> bool {
        true
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// Any bytes are at most one request; the server answers it once, and answers with 200 only where the path exists.
///
/// # Panics
/// When that does not hold.
pub fn http(data: &[u8]) {
    let runtime: &'static LocalKey<Runtime> = &RUNTIME;
    let (heard, counts) = runtime.with(|runtime| runtime.block_on(talk(Node, data)));
    assert!(counts.answered + counts.forbidden <= 1 && counts.forbidden == 0, "{counts:?}");
    if heard.is_empty() {
        return;
    }
    let text = String::from_utf8_lossy(&heard);
    let code = text.strip_prefix("HTTP/1.").and_then(|text| text.get(2..5));
    let code = code.unwrap_or_else(|| panic!("no answer: {text}"));
    match counts.answered {
        1 => assert!(["200", "404", "405", "503"].contains(&code), "{text}"),
        _ => assert!(code.starts_with('4'), "{text}"),
    }
    if code == "200" {
        let has = |path: &[u8]| data.windows(path.len()).any(|part| part == path);
        assert!(has(b"GET ") && (has(b"/metrics") || has(b"/-/healthy")), "{text}");
    }
}

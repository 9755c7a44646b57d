//! Prometheus and Alertmanager, Debian's, in a namespace of their own.

use crate::{logged, repository};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::daemon::Files;
use tests::netns::Namespace;
use tests::wait::wait_until;

const PROMETHEUS: &str = "127.0.0.1:9090";
const ALERTMANAGER: &str = "127.0.0.1:9093";
/// How long an alert may take to fire or resolve: only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a client waits for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Both programs. They end with this.
pub(crate) struct Watch<'a> {
    namespace: &'a Namespace,
    programs: Vec<Child>,
}

impl<'a> Watch<'a> {
    /// Starts them, and waits until they answer.
    pub(crate) fn start(namespace: &'a Namespace, files: &Files, targets: &[String; 2]) -> Self {
        let folder = files.path();
        let path = |name: &str| folder.join(name).display().to_string();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
        let rules = repository("contrib/prometheus/ctflow.rules.yml");
        write("rules.yml", &shortened(&fs::read_to_string(rules).expect("the rules")));
        let jobs = ["a", "b"].into_iter().zip(targets).map(|(name, target)| {
            format!("  - {{targets: ['{target}'], labels: {{instance: {name}}}}}\n")
        });
        write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
                 rule_files: ['{}']\n\
                 scrape_configs:\n- job_name: ctflow\n  static_configs:\n{}\
                 alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{ALERTMANAGER}']}}]}}]}}\n",
                path("rules.yml"),
                jobs.collect::<String>()
            ),
        );
        write("alertmanager.yml", "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n");
        let mut alertmanager = Command::new("prometheus-alertmanager");
        alertmanager.arg(format!("--config.file={}", path("alertmanager.yml")));
        alertmanager.arg(format!("--storage.path={}", path("alertmanager")));
        alertmanager.arg(format!("--web.listen-address={ALERTMANAGER}"));
        alertmanager.arg("--cluster.listen-address=");
        let mut prometheus = Command::new("prometheus");
        prometheus.arg(format!("--config.file={}", path("prometheus.yml")));
        prometheus.arg(format!("--storage.tsdb.path={}", path("prometheus")));
        prometheus.arg(format!("--web.listen-address={PROMETHEUS}"));
        prometheus.arg("--rules.alert.resend-delay=1s");
        let programs = [(alertmanager, "alertmanager.log"), (prometheus, "prometheus.log")];
        let start = |(mut command, log): (Command, &str)| {
            let log = folder.join(log);
            namespace.within(|| logged(&mut command, &log))
        };
        let watch = Self { namespace, programs: programs.map(start).into() };
        for address in [ALERTMANAGER, PROMETHEUS] {
            wait_until("it is ready", || watch.get(address, "/-/ready").is_ok());
        }
        watch
    }

    fn get(&self, address: &str, path: &str) -> io::Result<String> {
        self.namespace.within(|| get(address, path, ""))
    }

    fn json(&self, address: &str, path: &str) -> Value {
        let text = self.get(address, path).expect("it answers");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {path}: {text}"))
    }

    /// The series that an expression has now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.json(PROMETHEUS, &format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Names of all series.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let answer = self.json(PROMETHEUS, "/api/v1/label/__name__/values");
        let names = answer["data"].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
    }

    /// Names and severities of the alerts that have arrived at the Alertmanager and are not resolved.
    fn alerts(&self) -> BTreeSet<(String, String)> {
        let answer = self.json(ALERTMANAGER, "/api/v2/alerts?active=true");
        let label = |alert: &Value, name: &str| {
            alert["labels"][name].as_str().unwrap_or_default().to_owned()
        };
        let alerts = answer.as_array().into_iter().flatten();
        alerts.map(|alert| (label(alert, "alertname"), label(alert, "severity"))).collect()
    }

    /// Until both nodes are scraped and ready, and no alert is left.
    pub(crate) fn wait_for_calm(&self) {
        let mut last = String::new();
        let calm = || {
            let (ready, alerts) = (self.query("ctflow_ready == 1").len(), self.alerts());
            // One that is pending would fire.
            let pending = self.query("ALERTS").len();
            last = format!("{ready} nodes ready, {alerts:?}, {:?}", self.query("ALERTS"));
            ready == 2 && alerts.is_empty() && pending == 0
        };
        let is_calm = within_patience(calm);
        assert!(is_calm, "never calm: {last}");
    }

    /// Makes a fault, waits until all the `expected` alerts have fired, mends it and waits until all have resolved.
    /// Other critical alerts than these and `consequences` must not fire.
    pub(crate) fn fault(
        &self,
        expected: &[&str],
        consequences: &[&str],
        make: impl FnOnce(),
        mend: impl FnOnce(),
    ) {
        let began = Instant::now();
        make();
        let mut missing: BTreeSet<_> = expected.iter().copied().collect();
        let mut seen = BTreeSet::new();
        let all_fire = within_patience(|| {
            seen.extend(self.alerts());
            missing.retain(|name| seen.iter().all(|(alert, _)| alert != name));
            missing.is_empty()
        });
        let fired = began.elapsed();
        assert!(all_fire, "{missing:?} did not fire, only {seen:?}");
        mend();
        let known = |name: &str| expected.contains(&name) || consequences.contains(&name);
        let strange = seen.iter().find(|(name, severity)| severity == "critical" && !known(name));
        assert_eq!(strange, None, "fired too: {seen:?}");
        self.wait_for_calm();
        println!("{expected:?}: fired after {fired:.1?}, resolved after {:.1?}", began.elapsed());
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

fn within_patience(mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            return false;
        }
        sleep(Duration::from_millis(200));
    }
    true
}

/// The rules with times that suit a test: what must last, lasts three seconds; a daemon that does not answer, ten,
/// because a busy machine misses several scrapes in a row. Rates are those of eight seconds. Comparisons with yesterday
/// stay.
fn shortened(rules: &str) -> String {
    let mut alert = "";
    let line = |line| {
        alert = str::trim_start(line).strip_prefix("- alert: ").unwrap_or(alert);
        let short = match line.trim_start().strip_prefix("for: ") {
            Some("0m") | None => line.to_owned(),
            Some(long) => line.replace(long, if alert == "CtflowDown" { "10s" } else { "3s" }),
        };
        short.replace("[5m]", "[8s]").replace("[10m]", "[8s]") + "\n"
    };
    rules.lines().map(line).collect()
}

/// What is answered to a request for `path`: the body, if the status is 200.
pub(crate) fn get(address: &str, path: &str, headers: &str) -> io::Result<String> {
    let (code, body) = ask(address, path, headers)?;
    if code == 200 { Ok(body) } else { Err(io::Error::other(format!("{code}: {body}"))) }
}

/// The status of an answer; `None` if there is none.
pub(crate) fn status(address: &str, path: &str) -> Option<u16> {
    ask(address, path, "").ok().map(|(code, _)| code)
}

fn ask(address: &str, path: &str, headers: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    // Nothing of version 1.0 comes in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

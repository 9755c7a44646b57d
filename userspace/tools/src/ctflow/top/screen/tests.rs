//! The loop, with walks that flood it and walks that never end.

use super::*;
use crate::ctflow::top::row::Row;
use ctnetlink::{Flow, Tuple};
use ratatui::backend::TestBackend;

/// Walks as fast as it can.
struct Flood;

impl Walk for Flood {
    fn walk(&mut self, _: &Signs) -> Result<Option<Sample>, Fault> {
        let row = |port: u16| {
            let orig = Tuple::v4([10, 0, 0, 1], [2; 4], 6).with_ports(port, 80);
            Row::new(Flow::new(orig), Default::default())
        };
        Ok(Some(Sample { rows: (0..2000).map(row).collect(), ..Sample::default() }))
    }
}

/// A walk that never ends, and ignores the signal to stop.
struct Endless;

impl Walk for Endless {
    fn walk(&mut self, signs: &Signs) -> Result<Option<Sample>, Fault> {
        loop {
            signs.read.fetch_add(1, Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Broken;

impl Walk for Broken {
    fn walk(&mut self, _: &Signs) -> Result<Option<Sample>, Fault> {
        panic!("a walk that panics");
    }
}

struct Refused;

impl Walk for Refused {
    fn walk(&mut self, _: &Signs) -> Result<Option<Sample>, Fault> {
        Err(Fault::usage("sorry"))
    }
}

/// Plays in a screen of 80 x 24; what was on it at last.
fn played(
    walk: impl Walk + 'static,
    act: impl FnOnce(SyncSender<News>) + Send + 'static,
) -> (Result<Code, Fault>, String) {
    let (sender, news) = sync_channel(NEWS_MAX);
    let mut app = App { every: Duration::ZERO, ..App::default() };
    let signs = Arc::new(Signs::default());
    let desk = begin(walk, &app, &signs, &sender);
    thread::spawn(move || act(sender));
    let understand = |_: &str| Err("wrong".to_owned());
    let stage = Stage {
        news,
        desk,
        signs: Arc::clone(&signs),
        wish: Arc::default(),
        understand: &understand,
        is_plain: false,
    };
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let outcome = play(&mut terminal, &mut app, &stage);
    signs.stop.store(true, Relaxed);
    (outcome, terminal.backend().to_string())
}

#[test]
fn q_is_obeyed_under_a_flood_of_pictures() {
    let (outcome, screen) = played(Flood, |news| {
        // Pictures that the arranger makes, and more beside it.
        let flood = news.clone();
        let flooding =
            thread::spawn(move || while flood.send(News::Picture(Box::default())).is_ok() {});
        for key in "jjk/x".chars() {
            news.send(News::Key(Key::Char(key))).unwrap();
        }
        news.send(News::Key(Key::Escape)).unwrap();
        news.send(News::Key(Key::Char('q'))).unwrap();
        drop(news);
        flooding.join().unwrap();
    });
    assert!(matches!(outcome, Ok(Code::Done)), "{outcome:?}");
    assert!(screen.contains("ctflow top"), "{screen}");
}

#[test]
fn q_is_obeyed_during_a_walk_that_never_ends() {
    let (outcome, screen) = played(Endless, |news| {
        news.send(News::Resized).unwrap();
        news.send(News::Key(Key::Char('q'))).unwrap();
    });
    assert!(matches!(outcome, Ok(Code::Done)), "{outcome:?}");
    assert!(screen.contains("reading the table"), "{screen}");
}

#[test]
fn a_signal_leaves_and_what_ends_the_walks_is_said() {
    let keep = |_: SyncSender<News>| thread::sleep(Duration::from_secs(60));
    let (outcome, _) = played(Endless, |news| drop(news.send(News::Stop)));
    assert!(matches!(outcome, Ok(Code::Done)), "{outcome:?}");
    let (outcome, _) = played(Endless, |news| drop(news.send(News::Gone)));
    assert_eq!(outcome.unwrap_err().to_string(), "the terminal has gone");
    let (outcome, _) = played(Refused, keep);
    assert_eq!(outcome.unwrap_err().to_string(), "sorry");
    let (outcome, _) = played(Broken, keep);
    assert_eq!(outcome.unwrap_err().to_string(), "the thread `walk` panicked");
}

/// The program that the next test starts on a terminal of its own.
#[test]
#[ignore = "the next test starts it, on a terminal"]
fn panics_on_a_terminal() {
    let _ = run((Broken, None), App::default(), &|_| Ok(None), true);
}

#[test]
fn a_panic_puts_the_terminal_back_and_is_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let test = "ctflow::top::screen::tests::panics_on_a_terminal";
    let (exe, at) = (exe.display(), dir.path().display());
    let line = format!(
        "stty -a > {at}/before; {exe} --ignored --exact {test} --nocapture; stty -a > {at}/after"
    );
    let script = std::process::Command::new("script")
        .args(["-q", "-c", &line, &format!("{at}/said")])
        .env("SHELL", "/bin/sh")
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script(1) runs");
    let read = |name: &str| {
        let bytes = std::fs::read(dir.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (said, before) = (read("said"), read("before"));
    let entered = said.find("\u{1b}[?1049h").expect("the other screen is entered");
    let left = said.find("\u{1b}[?1049l").expect("the other screen is left");
    let why = said.find("a walk that panics").expect("the panic says why");
    assert!(entered < left && left < why, "{said:?}");
    assert!(said.rfind("\u{1b}[?25h") > said.rfind("\u{1b}[?25l"), "the cursor is shown: {said:?}");
    assert!(before.contains("icanon"), "{before}: {script:?}");
    assert_eq!(before, read("after"));
}

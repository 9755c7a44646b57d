//! The terminal: threads, drawing, and putting it back as it was.
//!
//! ```text
//!  keys    thread --keys----------------------------------------> play: draws, obeys
//!  signals thread --stop------------------------------------------^    |
//!  ask     thread --answer: the flow in detail----------------------^    | which flow
//!    ^------------------------------------------------------------------'
//!  walk    thread --sample--> desk --> arrange thread --picture---'    |
//!                              ^------------- settings ----------------'
//! ```
//!
//! `play` waits for news alone, and never for a walk or for arranging. A thread that goes on after it has left ends
//! with the process.

use super::answer::Answer;
use super::app::{App, Order};
use super::arrange::{Arranger, Picture, ROWS_MAX, Settings, pause};
use super::asking::{self, Wish};
use super::keys::Key;
use super::once;
use super::sample::Sample;
use super::view::{self, Look, Now};
use super::walk::{Signs, Walk, rest};
use crate::ctflow::outcome::{Code, Fault};
use crossterm::clipboard::CopyToClipboard;
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, execute, terminal};
use engine::query::Program;
use ratatui::Terminal;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::style::{Color, Modifier, Style};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two frames at least.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two frames at most: the clock in the first line moves.
const IDLE: Duration = Duration::from_secs(1);
/// News taken in before the next frame.
const NEWS_MAX: usize = 64;

/// Something that happened.
#[derive(Debug)]
pub enum News {
    /// The user pressed a key.
    Key(Key),
    /// The screen has another size.
    Resized,
    /// There is another picture.
    Picture(Box<Picture>),
    /// The daemon's answer about a flow.
    Answer(Answer),
    /// Walks have become impossible, for this reason.
    Failed(String),
    /// A signal says to leave.
    Stop,
    /// The terminal has gone.
    Gone,
}

/// Input of the arranger: the newest sample and the newest settings. Putting something here never waits.
#[derive(Debug, Default)]
pub struct Desk {
    todo: Mutex<Todo>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Todo {
    sample: Option<Arc<Sample>>,
    settings: Option<Settings>,
    every: Duration,
    is_new: bool,
}

impl Desk {
    fn todo(&self) -> MutexGuard<'_, Todo> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Todo)) {
        let mut todo = self.todo();
        change(&mut todo);
        todo.is_new = true;
        self.changed.notify_one();
    }

    fn next(&self) -> (Arc<Sample>, Settings) {
        let mut todo = self.todo();
        loop {
            if todo.is_new
                && let Some(sample) = &todo.sample
            {
                let next = (Arc::clone(sample), todo.settings.clone().unwrap_or_default());
                todo.is_new = false;
                return next;
            }
            todo = self.changed.wait(todo).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What is understood of a filter, or the text that says what is wrong.
pub type Understand = dyn Fn(&str) -> Result<Option<Arc<Program>>, String>;

/// Everything that `play` works with.
pub struct Stage<'a> {
    /// Keys, pictures and signals.
    pub news: Receiver<News>,
    /// Where changed settings are left for the thread that walks.
    pub desk: Arc<Desk>,
    /// Between walks and others.
    pub signs: Arc<Signs>,
    /// Which flow the daemon is asked about.
    pub wish: Arc<Wish>,
    /// Reads filters.
    pub understand: &'a Understand,
    /// No colour and no bold.
    pub is_plain: bool,
}

/// Starts walking and arranging.
pub fn begin(
    walk: impl Walk + 'static,
    app: &App,
    signs: &Arc<Signs>,
    news: &SyncSender<News>,
) -> Arc<Desk> {
    let desk = Arc::new(Desk::default());
    desk.change(|todo| (todo.settings, todo.every) = (Some(app.settings.clone()), app.every));
    let (signs, walked, failed) = (Arc::clone(signs), Arc::clone(&desk), news.clone());
    spawn("walk", news, move || walks(walk, &signs, &walked, &failed));
    let (arranged, pictures) = (Arc::clone(&desk), news.clone());
    spawn("arrange", news, move || {
        let mut arranger = Arranger::default();
        loop {
            let (sample, settings) = arranged.next();
            let picture = arranger.arrange(&sample, &settings);
            if pictures.send(News::Picture(Box::new(picture))).is_err() {
                return;
            }
        }
    });
    desk
}

/// A thread; when it panics, that is news.
fn spawn(name: &'static str, news: &SyncSender<News>, work: impl FnOnce() + Send + 'static) {
    let failed = news.clone();
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            let _ = failed.send(News::Failed(format!("the thread `{name}` panicked")));
        }
    };
    if let Err(error) = thread::Builder::new().name(name.into()).spawn(guarded) {
        let _ = news.send(News::Failed(format!("thread `{name}`: {error}")));
    }
}

fn walks(mut walk: impl Walk, signs: &Signs, desk: &Desk, news: &SyncSender<News>) {
    loop {
        match walk.walk(signs) {
            Ok(Some(sample)) => {
                let (mode, took) = (sample.mode, sample.took);
                desk.change(|todo| todo.sample = Some(Arc::new(sample)));
                let begun = Instant::now();
                // The interval may change meanwhile.
                loop {
                    let left = pause(mode, desk.todo().every, took).saturating_sub(begun.elapsed());
                    if left.is_zero() || signs.stop.load(Relaxed) {
                        break;
                    }
                    rest(left.min(FRAME), signs);
                }
            }
            Ok(None) => return,
            Err(fault) => {
                let _ = news.send(News::Failed(fault.to_string()));
                return;
            }
        }
    }
}

/// Draws and obeys until the user leaves.
///
/// # Errors
/// When flows can no longer be shown, or there is no terminal.
pub fn play<B: Backend<Error: Display>>(
    terminal: &mut Terminal<B>,
    app: &mut App,
    stage: &Stage<'_>,
) -> Result<Code, Fault> {
    let mut drawn: Option<Instant> = None;
    let mut frozen = None;
    loop {
        let since = drawn.map_or(IDLE, |at| at.elapsed());
        if since >= FRAME {
            frozen = if app.is_frozen { frozen.or_else(|| Some(Instant::now())) } else { None };
            draw(terminal, app, stage, frozen)?;
            stage.wish.want(app.wish());
            drawn = Some(Instant::now());
        }
        let mut wait = IDLE;
        for _ in 0..NEWS_MAX {
            let news = match stage.news.recv_timeout(wait) {
                Ok(news) => news,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Fault::usage("nobody reads keys"));
                }
            };
            match news {
                News::Key(key) => match app.press(key) {
                    Order::Quit => return Ok(Code::Done),
                    order => obey(app, stage, order),
                },
                News::Picture(picture) => app.take(*picture),
                News::Answer(answer) => app.answer = Some(answer),
                News::Resized => {}
                News::Stop => return Ok(Code::Done),
                News::Failed(why) => return Err(Fault::usage(why)),
                News::Gone => return Err(Fault::usage("the terminal has gone")),
            }
            // What comes until the next frame belongs to it.
            wait = FRAME.saturating_sub(drawn.map_or(FRAME, |at| at.elapsed()));
        }
    }
}

fn obey(app: &mut App, stage: &Stage<'_>, order: Order) {
    match order {
        Order::Draw | Order::Quit => {}
        Order::Arrange => {
            let settings = app.settings.clone();
            stage.desk.change(|todo| todo.settings = Some(settings));
        }
        Order::Filter(text) => {
            let understood = (stage.understand)(&text);
            let order = app.filtered(understood);
            obey(app, stage, order);
        }
        Order::Every(every) => {
            stage.desk.change(|todo| todo.every = every);
            app.say(format!("every {} s", every.as_secs_f64()));
        }
        Order::Copy(text) => {
            let copied = execute!(io::stdout(), CopyToClipboard::to_clipboard_from(&text));
            let lines = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
            app.say(if copied.is_ok() { lines } else { "it could not be copied".into() });
        }
        Order::Write => {
            let said = match write(app) {
                Ok(path) => format!("written to {path}"),
                Err(error) => format!("not written: {error}"),
            };
            app.say(said);
        }
    }
}

/// Writes the picture to a new file; its name.
fn write(app: &App) -> io::Result<String> {
    let picture = app.picture.as_ref().ok_or(io::ErrorKind::NotFound)?;
    let path = format!("top-{}.json", host::clock::wall_s());
    writeln!(File::create_new(&path)?, "{}", once::json(picture, ROWS_MAX))?;
    Ok(path)
}

fn draw<B: Backend<Error: Display>>(
    terminal: &mut Terminal<B>,
    app: &mut App,
    stage: &Stage<'_>,
    frozen: Option<Instant>,
) -> Result<(), Fault> {
    let now = Now {
        clock: clock(),
        age_s: frozen.map_or(0, |at| at.elapsed().as_secs()),
        read: stage.signs.read.load(Relaxed),
    };
    let drawn = terminal.draw(|frame| {
        let area = frame.area();
        let lines = view::screen(app, &now, area.width.into(), area.height.into());
        for (y, line) in (0..area.height).zip(&lines) {
            let style = style(line.look, stage.is_plain);
            let width = usize::from(area.width);
            let padded = format!("{:<width$}", line.text);
            frame.buffer_mut().set_stringn(0, y, &padded, width, style);
        }
    });
    match drawn {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::usage(format_args!("the terminal: {error}"))),
    }
}

fn style(look: Look, is_plain: bool) -> Style {
    match look {
        Look::Chosen => Style::new().add_modifier(Modifier::REVERSED),
        _ if is_plain => Style::new(),
        Look::Plain => Style::new(),
        Look::Title => Style::new().add_modifier(Modifier::BOLD),
        Look::Bad => Style::new().add_modifier(Modifier::BOLD).fg(Color::Red),
    }
}

/// The time of day.
#[must_use]
pub fn clock() -> String {
    let text = host::sys::local_time(host::clock::wall_s());
    let word = text.split_whitespace().find(|word| word.matches(':').count() == 2);
    word.unwrap_or_default().to_owned()
}

/// A terminal that is ours; it is put back as it was when this goes, and before a panic says why.
struct Ours;

impl Ours {
    fn take() -> io::Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            put_back();
            before(info);
        }));
        terminal::enable_raw_mode()?;
        let ours = Self;
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        Ok(ours)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        put_back();
    }
}

fn put_back() {
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// The screen of this process, until the user leaves.
///
/// # Errors
/// As [`play`].
pub fn run(
    (walk, feed): (impl Walk + 'static, Option<PathBuf>),
    mut app: App,
    understand: &Understand,
    is_plain: bool,
) -> Result<Code, Fault> {
    // Before there are threads: all of them hold the signals back.
    let stop = host::sys::stop_signals()?;
    let (sender, news) = sync_channel(NEWS_MAX);
    let ours = Ours::take()?;
    let signs = Arc::new(Signs::default());
    let desk = begin(walk, &app, &signs, &sender);
    let stopping = sender.clone();
    spawn("signals", &sender, move || {
        while !host::table::wait_for_any(&[], &stop, None) {}
        let _ = stopping.send(News::Stop);
    });
    let wish = Arc::new(Wish::default());
    if let Some(socket) = feed {
        let (wish, answers) = (Arc::clone(&wish), sender.clone());
        spawn("ask", &sender, move || {
            asking::ask(&socket, &wish, |answer| answers.send(News::Answer(answer)).is_ok());
        });
    }
    let keys = sender.clone();
    spawn("keys", &sender, move || read_keys(&keys));
    let mut terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
    let stage = Stage { news, desk, signs: Arc::clone(&signs), wish, understand, is_plain };
    let outcome = play(&mut terminal, &mut app, &stage);
    signs.stop.store(true, Relaxed);
    drop(ours);
    outcome
}

fn read_keys(news: &SyncSender<News>) {
    loop {
        let happened = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => key_of(key).map(News::Key),
            Ok(Event::Resize(..)) => Some(News::Resized),
            Ok(_) => None,
            Err(_) => Some(News::Gone),
        };
        let is_gone = matches!(happened, Some(News::Gone));
        let refused = happened.is_some_and(|happened| news.send(happened).is_err());
        if is_gone || refused {
            return;
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Interrupt,
        KeyCode::Char('h') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Backspace,
        KeyCode::Char(_) if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => {
            return None;
        }
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::Esc => Key::Escape,
        KeyCode::F(1) => Key::F1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

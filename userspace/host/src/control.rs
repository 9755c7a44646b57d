//! The control socket: a stream socket on which a client writes one request number and reads text until the end.
//!
//! The server runs on tokio, beside the data plane: a client that sends nothing, or reads nothing, delays no one
//! else. The protocol is `docs/spec/control.md`; [`framed`] has the ends of the framed one.

pub mod framed;

use crate::privilege;
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::control::{REQUEST_LEN, Request};

/// Clients that may wait for their connection to be accepted.
const BACKLOG: i32 = 128;
/// Clients served at once: far fewer than a process may have descriptors.
pub const CLIENTS_MAX: usize = 256;
/// How long a client may take to say what it wants, and how long it may leave a piece of the answer unread.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// The socket, bound but not served yet. Binding is apart from serving because a daemon binds before it forks, and
/// a tokio runtime must not live through a fork.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    path: PathBuf,
}

impl Bound {
    /// Binds `path`, readable and writable by the owner only. A socket without a listening process is replaced.
    ///
    /// # Errors
    /// When the path cannot be bound, or something else than a socket is there.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = StdListener::from(listen_anew(path)?);
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Gives the socket's name to user `uid` where that lets the user remove it: in a directory with the sticky bit,
    /// where no other user can have replaced it.
    ///
    /// # Errors
    /// As `lchown(2)`.
    pub fn give_to(&self, uid: u32) -> io::Result<()> {
        if self.path.parent().is_some_and(privilege::is_sticky) {
            std::os::unix::fs::lchown(&self.path, Some(uid), None)?;
        }
        Ok(())
    }

    /// Begins to serve; `faults` counts clients that do not say what they want. Must be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub fn serve(self, faults: Arc<Faults>) -> io::Result<Server> {
        let listener = UnixListener::from_std(self.listener)?;
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        Ok(Server { listener, path: self.path, faults, clients })
    }
}

/// Listens at `path`, for the owner only. A socket without a listening process is replaced.
pub(crate) fn listen_anew(path: &Path) -> io::Result<OwnedFd> {
    if is_socket(path)? {
        fs::remove_file(path)?;
    }
    listen_with_mode(path, Mode::RUSR | Mode::WUSR)
}

/// Whether a socket is at `path`; not so if nothing is.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(true),
        Ok(_) => {
            let what = "there is something else than a socket";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether [`Bound::bind`] would find something else than a socket at `path`. Its directory is that
/// of its lock file ([`crate::lock::beside`]).
///
/// # Errors
/// If so.
pub fn examine(path: &Path) -> io::Result<()> {
    match is_socket(path) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}

/// Listens at `path` for every user that may write the socket's file, which gets the mode 0660. A socket without a
/// listening process is replaced.
///
/// # Errors
/// When a process listens there already, when the path is no socket, or as `bind(2)`.
pub fn listen_for_group(path: &Path) -> io::Result<StdListener> {
    if is_socket(path)? {
        if is_served(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    let socket = listen_with_mode(path, mode)?;
    // The umask may have taken rights away.
    rustix::fs::chmod(path, mode)?;
    Ok(StdListener::from(socket))
}

/// A socket that listens at `path`, which only those whom `mode` names may connect to from the first moment on: the
/// kernel takes the mode of the socket for that of the path (`net/unix/af_unix.c`), less the umask.
fn listen_with_mode(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether a process listens at `path`, however busy it is.
#[must_use]
pub(crate) fn is_served(path: &Path) -> bool {
    let connect = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
    };
    // AGAIN: clients wait in line there.
    matches!(connect(), Ok(()) | Err(Errno::AGAIN))
}

/// The socket being served; its path is removed when it goes.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    faults: Arc<Faults>,
    clients: Arc<Semaphore>,
}

/// Clients that did not say what they want.
#[derive(Debug, Default)]
pub struct Faults {
    unread: AtomicU64,
    unknown: AtomicU64,
}

impl Faults {
    /// Clients that went, or kept silent, before they had named a request.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread.load(Relaxed)
    }

    /// Clients that named a request that does not exist.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown.load(Relaxed)
    }
}

impl Server {
    /// The next client, once fewer than [`CLIENTS_MAX`] are served; the others wait in line.
    ///
    /// # Errors
    /// As `accept(2)`.
    pub async fn accept(&self) -> io::Result<Client> {
        let place = Arc::clone(&self.clients).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, _) = self.listener.accept().await?;
        let faults = Arc::clone(&self.faults);
        Ok(Client { stream, faults, broken: false, _place: place })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A client that has connected.
#[derive(Debug)]
pub struct Client {
    stream: tokio::net::UnixStream,
    faults: Arc<Faults>,
    /// A piece of the answer was not taken whole.
    broken: bool,
    _place: OwnedSemaphorePermit,
}

impl Client {
    /// The client's request; `None` when it sends nothing in time or nothing that is known.
    pub async fn request(&mut self) -> Option<Request> {
        let mut bytes = [0; REQUEST_LEN];
        let read = self.stream.read_exact(&mut bytes);
        let Ok(Ok(_)) = tokio::time::timeout(CLIENT_PATIENCE, read).await else {
            self.faults.unread.fetch_add(1, Relaxed);
            return None;
        };
        let request = Request::decode(&bytes).ok();
        self.faults.unknown.fetch_add(u64::from(request.is_none()), Relaxed);
        request
    }

    /// Sends it a piece of text. A client that did not take a piece whole gets nothing any more: what comes next would
    /// stand inside of that piece.
    ///
    /// # Errors
    /// When it has gone, or does not read.
    pub async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.write(&[text.as_bytes()]).await
    }

    async fn write(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        for piece in pieces {
            let write = self.stream.write_all(piece);
            tokio::time::timeout(CLIENT_PATIENCE, write).await.map_err(io::Error::other)??;
        }
        self.broken = false;
        Ok(())
    }
}

/// The client's side: sends `request` to the daemon at `path` and copies its answer to `out`.
///
/// # Errors
/// When no daemon answers, or `out` fails.
pub fn ask(path: &Path, request: Request, out: &mut impl Write) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&request.encode())?;
    let mut piece = vec![0; 64 << 10];
    loop {
        match stream.read(&mut piece)? {
            0 => return out.flush(),
            len => out.write_all(&piece[..len])?,
        }
    }
}

//! Binds and connects `control.sock`. The path of the directory may exceed the limit of Unix
//! sockets. Connecting never waits, even if the listening program is stopped.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use nix::libc;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::shell::os::file::PRIVATE_FILE_MODE;

/// The name of the socket in the state directory.
pub const SOCKET_NAME: &str = "control.sock";
/// The name under which the socket is bound, before it is renamed to [`SOCKET_NAME`]. This name
/// must not be longer, because only the path of [`SOCKET_NAME`] is checked for its length.
const DRAFT_NAME: &str = "control.new";
/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7) without its final zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// A path of the state directory that is short enough for the sockets in it.
struct SocketFolder {
    path: PathBuf,
    /// The open directory to which `path` leads, if the directory's own path is too long.
    _handle: Option<File>,
}

impl SocketFolder {
    fn open(directory: &Path) -> io::Result<SocketFolder> {
        if directory.join(SOCKET_NAME).as_os_str().as_bytes().len() <= SOCKET_PATH_MAX_BYTES {
            return Ok(SocketFolder {
                path: directory.to_owned(),
                _handle: None,
            });
        }
        let mut options = OpenOptions::new();
        options.read(true);
        options.custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        let handle = options.open(directory)?;
        Ok(SocketFolder {
            path: PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())),
            _handle: Some(handle),
        })
    }
}

/// Binds the socket under another name in the directory, and then renames it. The socket thus has
/// its final permissions as soon as it has its name. The renaming replaces a socket that a killed
/// program left.
///
/// # Errors
/// The socket cannot be created.
pub fn bind(directory: &Path) -> io::Result<UnixListener> {
    let folder = SocketFolder::open(directory)?;
    let draft = folder.path.join(DRAFT_NAME);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(PRIVATE_FILE_MODE))?;
    fs::rename(draft, folder.path.join(SOCKET_NAME))?;
    Ok(listener)
}

/// Connects to the socket in the directory, and never waits.
///
/// # Errors
/// No program listens in the directory. `WouldBlock`: the listener's queue of connections is full.
pub fn connect(directory: &Path) -> io::Result<UnixStream> {
    let folder = SocketFolder::open(directory)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(folder.path.join(SOCKET_NAME))?)?;
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

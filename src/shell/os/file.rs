//! Files and directories that only this user can access, and files that may be missing.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc;

/// Mode of a private file: only this user can read and write it.
pub const PRIVATE_FILE_MODE: u32 = 0o600;
const PRIVATE_DIR_MODE: u32 = 0o700;

/// Flags for opening a file that somebody else may have replaced. A FIFO then does not block, and a
/// link is not followed.
const CAUTIOUS_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOFOLLOW;

/// Turns a `NotFound` error into `None`.
///
/// # Errors
/// The error of `result`, unless it is `NotFound`.
pub fn if_exists<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Waits until the names in a directory are on disk.
///
/// # Errors
/// The directory can't be opened, or its file system can't sync one.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading, and writing at any offset.
    Write,
    /// Writing at the end.
    Append,
}

/// Opens a regular file, which must exist. Never waits, whatever lies at `path`.
///
/// # Errors
/// The file is missing, can't be opened, or is no regular file: `InvalidInput`, with the path.
pub fn open_regular(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    match access {
        Access::Read => options.read(true),
        Access::Write => options.read(true).write(true),
        Access::Append => options.append(true),
    };
    open_cautiously(&mut options, path)
}

/// Opens a regular file with these options. Never waits, and follows no link.
fn open_cautiously(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(CAUTIOUS_FLAGS);
    let is_odd = |number| [libc::ELOOP, libc::ENXIO, libc::EISDIR].contains(&number);
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() => return Ok(file),
        Err(error) if !error.raw_os_error().is_some_and(is_odd) => return Err(error),
        _ => {}
    }
    let sentence = format!("{} is no regular file", path.display());
    Err(io::Error::new(ErrorKind::InvalidInput, sentence))
}

/// Creates a directory and its missing parents with mode 0700. An existing directory keeps its
/// mode.
///
/// # Errors
/// The directory is missing and can't be created.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR_MODE)
        .create(dir)
}

/// Creates an empty file with mode 0600 and opens it for writing. If the file exists, it is
/// emptied.
///
/// # Errors
/// The file can't be created or emptied, or is no regular file.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    open_cautiously(private_options().write(true).truncate(true), path)
}

/// Opens a file for writing and keeps its content. A missing file is created with mode 0600.
///
/// # Errors
/// The file can't be opened or created, or is no regular file.
pub fn open_private_file(path: &Path) -> io::Result<File> {
    open_cautiously(private_options().write(true), path)
}

/// Opens a file for reading, and for writing at its end. A missing file is created with mode 0600.
///
/// # Errors
/// The file can't be opened or created, or is no regular file.
pub fn append_private_file(path: &Path) -> io::Result<File> {
    open_cautiously(private_options().read(true).append(true), path)
}

fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(PRIVATE_FILE_MODE);
    options
}

/// Replaces the file `path`. `write` fills a new file named `path` plus `.new`, with mode 0600. The
/// new file is then renamed to `path`.
///
/// # Errors
/// The new file can't be created, written or renamed. The file `path` is then unchanged.
pub fn replace_file(
    path: &Path,
    write: &mut dyn FnMut(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let draft = path.with_added_extension("new");
    // A crash may have left a draft. A link of this name must not be written through.
    if_exists(fs::remove_file(&draft))?;
    write(
        &mut private_options()
            .write(true)
            .create_new(true)
            .open(&draft)?,
    )?;
    fs::rename(draft, path)
}

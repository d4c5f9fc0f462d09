//! The file named by `--secret-file`: the secret of a closed network.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::shell::config::failure::Failure;
use crate::shell::os::file;
use crate::shell::state::identity_file::is_readable_by_others;
use crate::wire::secret::{NetworkKeys, SECRET_MAX_BYTES, zeroize};

/// Longest line end that may follow the secret, `\r\n`, in bytes.
const LINE_END_MAX_BYTES: usize = 2;
/// Mode of a new secret file: only its owner reads it.
const SECRET_FILE_MODE: u32 = 0o600;
/// Extra capacity of the read buffer, in bytes, so that the buffer never grows. A buffer that grows
/// would leave a copy of the secret in memory.
const SPARE_BYTES: usize = 64;

/// Reads the secret of a network and derives the network keys from it. The file may be a pipe, so
/// that a command can provide the secret.
///
/// # Errors
/// Exit status 78: the file is missing or unreadable, or its secret is too short or too long.
pub fn read_secret(path: &Path, warnings: &mut Vec<String>) -> Result<NetworkKeys, Failure> {
    let mut content = read_content(path, warnings)?;
    let secret = NetworkKeys::derive(&content);
    zeroize(&mut content);
    secret.map_err(|error| Failure::config(format!("secret file {}: {error}", path.display())))
}

/// Reads the content of a secret file, at most a few bytes more than the longest secret has.
///
/// # Errors
/// Exit status 78: the file is missing or unreadable.
pub fn read_content(path: &Path, warnings: &mut Vec<String>) -> Result<Vec<u8>, Failure> {
    let bad = |why: String| Failure::config(format!("secret file {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    let is_exposed = is_readable_by_others(&file);
    // A growing buffer would leave copies of the secret in freed memory.
    let mut content = Vec::with_capacity(SECRET_MAX_BYTES + SPARE_BYTES);
    // Reads one byte more than allowed, so that a secret that is too long is noticed.
    let read = file
        .take((SECRET_MAX_BYTES + LINE_END_MAX_BYTES + 1) as u64)
        .read_to_end(&mut content);
    read.map_err(|error| bad(error.to_string()))?;
    if is_exposed {
        warnings.push(format!(
            "secret file {0} is readable by others: chmod 600 {0}",
            path.display()
        ));
    }
    Ok(content)
}

/// Checks that [`create`] can create the file.
///
/// # Errors
/// As [`create`].
pub fn check_new(path: &Path) -> Result<(), Failure> {
    let created = create_new(path).and_then(|_| fs::remove_file(path));
    created.map_err(|error| creation_failure(path, &error))
}

/// Creates a secret file with mode 0600. Never overwrites one.
///
/// # Errors
/// Exit status 78: the file exists, or cannot be written. Then nothing is left of it.
pub fn create(path: &Path, secret: &[u8]) -> Result<(), Failure> {
    let fail = |error| creation_failure(path, &error);
    let mut file = create_new(path).map_err(fail)?;
    let written = file
        .write_all(&[secret, b"\n"].concat())
        .and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.map_err(fail)?;
    // The code is used up: the file's name must outlast a power cut, too. Not each directory can be
    // synced.
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    let _ = file::sync_directory(parent.unwrap_or(Path::new(".")));
    Ok(())
}

fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true);
    options.mode(SECRET_FILE_MODE).open(path)
}

fn creation_failure(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::config(match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("secret file {path}: it exists already, and is not overwritten")
        }
        _ => format!("secret file {path}: {error}"),
    })
}

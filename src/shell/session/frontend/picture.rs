//! Pictures of profiles in files: reads that of our own, and saves that of somebody else.
use std::fs::{self, File, OpenOptions, metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::base::guests::guest::PICTURE_MAX_BYTES;
use crate::base::presence::profile::{Avatar, Profile};
use crate::base::text::rfc4648::BASE64;
use crate::shell::config::environment::absolute_path_variable;

/// Largest file of a picture for guests, in bytes. Base64 makes four bytes of three.
pub const PICTURE_FILE_MAX_BYTES: usize = PICTURE_MAX_BYTES / 4 * 3;

/// Reads the picture in a file of at most so many bytes.
///
/// # Errors
/// The file cannot be read, is too large, or is no picture. The error is a sentence for the user.
pub fn read_picture(path: &str, max_bytes: usize) -> Result<Avatar, String> {
    let file = expand_home(path);
    let bytes = read_file(&file, max_bytes).map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() > max_bytes {
        let kib = max_bytes / 1024;
        return Err(format!(
            "{path} is larger than {kib} KiB: choose a smaller picture"
        ));
    }
    let kind = match &bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'G', b'I', b'F', ..] => "image/gif",
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => "image/webp",
        _ => {
            return Err(format!(
                "{path} is no picture: choose a PNG, JPEG, GIF or WebP"
            ));
        }
    };
    let avatar = Avatar::new(kind, &BASE64.encode(&bytes));
    avatar.ok_or_else(|| format!("{path} is no picture of at most 64 KiB"))
}

/// Replaces `~/` at the beginning by `$HOME/`, as a shell does on the command line.
fn expand_home(path: &str) -> PathBuf {
    let home = path.strip_prefix("~/").and_then(|rest| {
        let home = absolute_path_variable(&|name| std::env::var_os(name), "HOME");
        home.map(|home| home.join(rest))
    });
    home.unwrap_or_else(|| PathBuf::from(path))
}

fn read_file(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !metadata(path)?.is_file() {
        return Err(io::Error::other("this is no file"));
    }
    let mut bytes = Vec::new();
    let limit = max_bytes as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Saves the picture of the only one of these profiles in a new file. Returns a sentence for the
/// user.
///
/// # Errors
/// There is none, it has not come, or the file exists or cannot be written. The error is a sentence
/// for the user.
pub fn save_picture(path: &str, profiles: Vec<&Profile>) -> Result<String, String> {
    let avatar = match &profiles[..] {
        [profile] => profile.avatar.as_ref(),
        [] => return Err(format!("{path} is not written: no profile came")),
        _ => return Err(format!("{path} is not written: several have this name")),
    };
    let avatar = avatar.ok_or_else(|| format!("{path} is not written: there is no picture"))?;
    let file = avatar.file();
    let bytes = file.ok_or_else(|| format!("{path} is not written: the picture did not come"))?;
    write_new(&expand_home(path), &bytes)
        .map_err(|error| format!("{path} is not written: {error}"))?;
    Ok(format!(
        "{path} is written: {}, {} bytes",
        avatar.kind(),
        bytes.len()
    ))
}

/// Writes a file that must not exist yet. A link that leads nowhere counts as one that exists.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(bytes).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

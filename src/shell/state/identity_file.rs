//! The file `identity`: our secret key. A new file appears only when complete, and an existing file
//! is never replaced.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::identity::{Identity, PeerId};
use crate::base::text::rfc4648::{BASE32_NOPAD, HEXLOWER};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::os::file::{self, PRIVATE_FILE_MODE};
use crate::wire::secret::zeroize;

const IDENTITY_FILE: &str = "identity";
/// First word of an identity file. The second word is the secret, and the third word is the id,
/// both in base32. A secret that does not match the id is damaged.
const IDENTITY_MAGIC: &str = "p2pchat-secret-key-1";
/// Maximum number of bytes read from the file.
const IDENTITY_FILE_MAX_BYTES: u64 = 1024;
/// Extra capacity of the read buffer, in bytes, so that the buffer never grows. A buffer that grows
/// would leave a copy of the secret in memory.
const SPARE_BYTES: usize = 64;
/// Permission bits with which the group and others can read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// Path of the identity file in a state directory.
pub fn identity_path(directory: &Path) -> PathBuf {
    directory.join(IDENTITY_FILE)
}

/// 32 random bytes from the kernel.
///
/// # Errors
/// Exit status 1: the kernel provides no random bytes.
pub fn random_bytes() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(
            ExitStatus::GeneralError,
            format!("the kernel gives no randomness: {error}"),
        )
    })?;
    Ok(bytes)
}

/// A random number from the kernel.
///
/// # Errors
/// As [`random_bytes`].
pub fn random_u64() -> Result<u64, Failure> {
    let [a, b, c, d, e, f, g, h, ..] = random_bytes()?;
    Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// Whether the group or others may read this file. False for a pipe or a device.
pub fn is_readable_by_others(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & READABLE_BY_OTHERS != 0)
}

/// Creates a new identity in memory only.
///
/// # Errors
/// Exit status 1: the kernel provides no random bytes.
pub fn generate_identity() -> Result<Identity, Failure> {
    let mut seed = random_bytes()?;
    let identity = Identity::from_seed(&seed);
    zeroize(&mut seed);
    Ok(identity)
}

/// Reads the identity of a state directory, or creates it if the file is missing. Adds a warning if
/// other users can read the file.
///
/// # Errors
/// Exit status 78: the file can't be read or created, or is damaged. A damaged file is never
/// replaced.
pub fn load_or_create_identity(
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Identity, Failure> {
    let path = identity_path(directory);
    if let Some(identity) = read_identity(&path, warnings)? {
        return Ok(identity);
    }
    let bad = |error: io::Error| {
        Failure::config(format!(
            "{} can't be created ({error}): see --dir and --ephemeral",
            path.display()
        ))
    };
    create_identity_file(directory, &path).map_err(bad)?;
    // Two programs may start at once. Both then use the file that one of them created.
    read_identity(&path, warnings)?.ok_or_else(|| bad(ErrorKind::NotFound.into()))
}

/// Reads an identity file. `None`: the file is missing.
///
/// # Errors
/// Exit status 78: the file is unreadable, damaged, not a regular file, or a dangling symbolic
/// link.
pub fn read_identity(path: &Path, warnings: &mut Vec<String>) -> Result<Option<Identity>, Failure> {
    let bad = |why: &str| Failure::config(format!("identity file {}: {why}", path.display()));
    match fs::metadata(path) {
        // Opening a pipe would block until another program writes to it.
        Ok(meta) if !meta.is_file() => return Err(bad("not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The link's target may be on a medium that is not mounted. A new identity would be
            // wrong.
            let is_link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
            return if is_link {
                Err(bad("a symbolic link that leads nowhere"))
            } else {
                Ok(None)
            };
        }
        Err(error) => return Err(bad(&error.to_string())),
    }
    let file = File::open(path).map_err(|error| bad(&error.to_string()))?;
    if is_readable_by_others(&file) {
        warnings.push(format!(
            "identity file {0} is readable by others: chmod 600 {0}",
            path.display()
        ));
    }
    // A growing buffer would leave copies of the secret in freed memory.
    let mut text = Vec::with_capacity(IDENTITY_FILE_MAX_BYTES as usize + SPARE_BYTES);
    let read = file.take(IDENTITY_FILE_MAX_BYTES).read_to_end(&mut text);
    let identity = parse_identity(&text);
    zeroize(&mut text);
    read.map_err(|error| bad(&error.to_string()))?;
    identity.map(Some).ok_or_else(|| {
        bad(
            "damaged and not replaced: restore it from a backup, or move it away for a new \
            identity",
        )
    })
}

fn parse_identity(text: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.strip_suffix('\n')?.split(' ');
    let (magic, secret, id) = (words.next()?, words.next()?, words.next()?);
    if magic != IDENTITY_MAGIC || words.next().is_some() {
        return None;
    }
    let mut lower = secret.as_bytes().to_ascii_lowercase();
    let decoded = BASE32_NOPAD.decode(&lower);
    zeroize(&mut lower);
    let mut bytes = decoded?;
    let identity = <&[u8; 32]>::try_from(bytes.as_slice())
        .map(Identity::from_seed)
        .ok();
    zeroize(&mut bytes);
    identity.filter(|identity| Ok(identity.id()) == id.parse::<PeerId>())
}

/// Creates an identity and writes it to a file with a random name. Then makes `path` a hard link to
/// that file. If `path` already exists, the existing file stays unchanged.
fn create_identity_file(directory: &Path, path: &Path) -> io::Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let id = Identity::from_seed(&seed).id();
    let mut secret = BASE32_NOPAD.encode(&seed).into_bytes();
    zeroize(&mut seed);
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let draft = directory.join(format!("{IDENTITY_FILE}.{}", HEXLOWER.encode(&nonce)));
    let linked = write_new_file(
        &draft,
        &[
            IDENTITY_MAGIC.as_bytes(),
            b" ",
            &secret,
            b" ",
            id.to_string().as_bytes(),
            b"\n",
        ],
    )
    .and_then(|()| fs::hard_link(&draft, path));
    zeroize(&mut secret);
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return removed,
        other => other?,
    }
    removed?;
    file::sync_directory(directory)
}

/// Writes `parts`, one after the other, to a new private file. Joining the parts first would leave
/// a copy of the secret in memory.
fn write_new_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE_MODE)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

//! The file `identity`: the own secret key, written whole or not at all, and never replaced.
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use crate::base::identity::{Identity, PeerId};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::wire::secret::zeroize;

/// First word of an identity file. Then come the secret and, as a check, the id, both in base32.
const IDENTITY_MAGIC: &str = "p2pchat-secret-key-1";
const IDENTITY_FILE_MAX_BYTES: u64 = 1024;

/// 32 bytes of the kernel's randomness.
///
/// # Errors
/// 1: the kernel gives none.
pub fn random_bytes() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::new(ExitStatus::GeneralError, format!("no randomness: {error}"))
    })?;
    Ok(bytes)
}

/// Of a regular file: may its group or the world read it?
pub fn is_readable_by_others(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o044 != 0)
}

/// An identity that is nowhere but in memory.
///
/// # Errors
/// 1: the kernel gives no randomness.
pub fn generate_identity() -> Result<Identity, Failure> {
    let mut seed = random_bytes()?;
    let identity = Identity::from_seed(&seed);
    zeroize(&mut seed);
    Ok(identity)
}

/// The identity of a directory; made if there is none. Warned of if others can read it.
///
/// # Errors
/// 78: it can't be read or made, or is damaged; it is never replaced.
pub fn load_or_create_identity(
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Identity, Failure> {
    let path = directory.join("identity");
    if let Some(identity) = read_identity(&path, warnings)? {
        return Ok(identity);
    }
    let bad = |error: io::Error| {
        Failure::config(format!(
            "{} can't be made: {error}; see --dir and --ephemeral",
            path.display()
        ))
    };
    create_identity_file(directory, &path).map_err(bad)?;
    // Read back: if two programs started at once, one of them made it, for both.
    read_identity(&path, warnings)?.ok_or_else(|| bad(ErrorKind::NotFound.into()))
}

/// `None`: there is none.
///
/// # Errors
/// 78: it can't be read, or is none.
pub fn read_identity(path: &Path, warnings: &mut Vec<String>) -> Result<Option<Identity>, Failure> {
    let bad = |why: &str| Failure::config(format!("identity file {}: {why}", path.display()));
    match fs::metadata(path) {
        // Opening a pipe would wait for its writer.
        Ok(meta) if !meta.is_file() => return Err(bad("not a regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // A link to a file that is away, on a stick perhaps, is not a first start. Anything else was made just now.
            let link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
            return if link {
                Err(bad("a link that leads nowhere"))
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
    let mut text = Vec::with_capacity(IDENTITY_FILE_MAX_BYTES as usize + 64);
    let read = file.take(IDENTITY_FILE_MAX_BYTES).read_to_end(&mut text);
    let identity = parse_identity(&text);
    zeroize(&mut text);
    read.map_err(|error| bad(&error.to_string()))?;
    identity.map(Some).ok_or_else(|| {
        bad("damaged, and not replaced: bring it back from a backup, or move it away to become somebody new")
    })
}

fn parse_identity(text: &[u8]) -> Option<Identity> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words = text.strip_suffix('\n')?.split(' ');
    let (mark, secret, id) = (words.next()?, words.next()?, words.next()?);
    if mark != IDENTITY_MAGIC || words.next().is_some() {
        return None;
    }
    let mut upper = secret.as_bytes().to_ascii_uppercase();
    let decoded = BASE32_NOPAD.decode(&upper);
    zeroize(&mut upper);
    let mut bytes = decoded.ok()?;
    let identity = <&[u8; 32]>::try_from(bytes.as_slice())
        .map(Identity::from_seed)
        .ok();
    zeroize(&mut bytes);
    identity.filter(|identity| Ok(identity.id()) == id.parse::<PeerId>())
}

/// Makes the file whole under another name first; an identity that is there by then stays.
fn create_identity_file(directory: &Path, path: &Path) -> io::Result<()> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let id = Identity::from_seed(&seed).id();
    let mut secret = BASE32_NOPAD.encode(&seed).into_bytes();
    zeroize(&mut seed);
    secret.make_ascii_lowercase();
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let new = directory.join(format!("identity.{}", HEXLOWER.encode(&nonce)));
    let linked = write_new_file(
        &new,
        &[
            IDENTITY_MAGIC.as_bytes(),
            b" ",
            &secret,
            b" ",
            id.to_string().as_bytes(),
            b"\n",
        ],
    )
    .and_then(|()| fs::hard_link(&new, path));
    zeroize(&mut secret);
    let removed = fs::remove_file(&new);
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return removed,
        other => other?,
    }
    removed?;
    File::open(directory)?.sync_all()
}

fn write_new_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()
}

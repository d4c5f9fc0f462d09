//! Reads the picture of a profile from a file.
use std::fs::{File, metadata};
use std::io::{self, Read as _};

use data_encoding::BASE64;

use crate::base::guests::guest::PICTURE_MAX_BYTES;

/// Largest file of a picture, in bytes. Base64 makes four bytes of three.
const PICTURE_FILE_MAX_BYTES: u64 = PICTURE_MAX_BYTES as u64 / 4 * 3;

/// Reads a file as a data URL (RFC 2397).
///
/// # Errors
/// The file cannot be read, or is too large. The error is a sentence for the user.
pub fn read_picture(path: &str) -> Result<String, String> {
    let bytes = read_file(path).map_err(|error| format!("{path}: {error}"))?;
    if bytes.len() as u64 > PICTURE_FILE_MAX_BYTES {
        return Err(format!(
            "{path} is larger than 45 KiB: choose a smaller picture"
        ));
    }
    let kind = match &bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'G', b'I', b'F', ..] => "image/gif",
        _ => "application/octet-stream",
    };
    Ok(format!("data:{kind};base64,{}", BASE64.encode(&bytes)))
}

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    if !metadata(path)?.is_file() {
        return Err(io::Error::other("this is no file"));
    }
    let mut bytes = Vec::new();
    let limit = PICTURE_FILE_MAX_BYTES + 1;
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

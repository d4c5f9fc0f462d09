//! Batches made by hand: a second implementation of the format, from text.
#![allow(dead_code, reason = "each test program uses some of the helpers")]

use data_encoding::BASE64URL_NOPAD;
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag};

/// The hash that stands for a content, with the salt as it is in the JSON.
pub fn content_hash(salt: &str, content: &str) -> Hash {
    let salt = u64::from_str_radix(salt, 16).expect("hex").to_be_bytes();
    Hash::of(&[b"p2pchat content 2\0", &salt, content.as_bytes()])
}

/// The signature of a batch in the open network.
pub fn signature(author: &Identity, header: &str, content_hash: &Hash) -> String {
    let parts: [&[u8]; 4] = [
        b"p2pchat batch 2\0",
        &NetworkTag::OPEN.0,
        header.as_bytes(),
        &content_hash.0,
    ];
    BASE64URL_NOPAD.encode(&author.sign(&Hash::of(&parts).0))
}

/// A batch with this header, content and salt, signed in the open network.
pub fn signed(author: &Identity, header: &str, content: &str, salt: &str) -> String {
    let signature = signature(author, header, &content_hash(salt, content));
    format!("{header},\"content\":{content},\"salt\":\"{salt}\",\"signature\":\"{signature}\"}}")
}

/// The parts of a batch's JSON.
pub struct Parts {
    pub header: String,
    pub content: String,
    pub salt: String,
    pub signature: String,
}

/// Splits the JSON of a batch that this program signed.
pub fn parts(batch: &Batch) -> Parts {
    let json = std::str::from_utf8(batch.as_bytes()).expect("JSON");
    let (header, rest) = json.split_once(",\"content\":").expect("a content");
    let (content, rest) = rest.split_once(",\"salt\":\"").expect("a salt");
    let (salt, rest) = rest.split_once("\",\"signature\":\"").expect("a signature");
    let signature = rest.strip_suffix("\"}").expect("an end");
    Parts {
        header: header.to_owned(),
        content: content.to_owned(),
        salt: salt.to_owned(),
        signature: signature.to_owned(),
    }
}

/// The batch without its content: the hash of the content in its place.
pub fn withheld(batch: &Batch) -> Vec<u8> {
    let Parts {
        header,
        content,
        salt,
        signature,
    } = parts(batch);
    let hash = content_hash(&salt, &content);
    format!("{header},\"content_hash\":\"{hash}\",\"signature\":\"{signature}\"}}").into_bytes()
}

/// The batch with another signature, which is false.
pub fn falsified(batch: &Batch) -> Batch {
    let mut bytes = batch.as_bytes().to_vec();
    let at = bytes.len() - 4;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    Batch::parse(bytes, &NetworkTag::OPEN).expect("a batch")
}

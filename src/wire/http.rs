//! The answers of HTTP, to what UPnP and Grenache ask for.

/// Longest answer that is read, in bytes.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// Longest head of an answer, in bytes.
pub const HEAD_MAX_BYTES: usize = 8 * 1024;

/// An answer to a request, as far as it has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status: 200 if all went well.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Whether the body has the length that the head names.
    is_whole: bool,
}

impl HttpAnswer {
    /// Parses an answer. `None`: it is none, or its head has not ended after [`HEAD_MAX_BYTES`].
    pub fn parse(bytes: &[u8]) -> Option<HttpAnswer> {
        let (mut status, mut length) = (None, None);
        let mut at = 0;
        loop {
            let rest = bytes.get(at..HEAD_MAX_BYTES.min(bytes.len()))?;
            let end = memchr::memchr(b'\n', rest)?;
            at += end + 1;
            let line = String::from_utf8_lossy(rest.get(..end)?.trim_ascii());
            if status.is_none() {
                let code = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
                status = Some(code.parse().ok()?);
            } else if line.is_empty() {
                break;
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let body = bytes.get(at..)?;
        Some(HttpAnswer {
            status: status?,
            body: String::from_utf8_lossy(body).into_owned(),
            is_whole: length.is_some_and(|length: usize| body.len() >= length),
        })
    }

    /// Whether the body has the length that the head names, so that nothing more is waited for.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

//! Frames inside the cipher: kind (1 byte), length (4 bytes, big endian), payload. They run across Noise messages.
use crate::base::batch::BATCH_MAX_BYTES;

/// Bytes before a payload.
pub const HEADER_BYTES: usize = 5;
/// Longest payload, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = BATCH_MAX_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A `message::Message` in JSON.
    Message,
    /// A batch, its author's exact bytes.
    Batch,
}

impl FrameKind {
    fn to_byte(self) -> u8 {
        match self {
            FrameKind::Message => 1,
            FrameKind::Batch => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<FrameKind> {
        match byte {
            1 => Some(FrameKind::Message),
            2 => Some(FrameKind::Batch),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: FrameKind,
    pub payload: Vec<u8>,
}

/// A payload longer than [`PAYLOAD_MAX`]: nothing behind it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong;

pub fn write_frame(kind: FrameKind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES + payload.len());
    out.push(kind.to_byte());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Puts frames together from pieces of any size. Holds at most one unfinished frame, and only what of it has come.
#[derive(Default)]
pub struct FrameDecoder {
    partial: Vec<u8>,
}

impl FrameDecoder {
    /// Finished frames are added to `out`; kinds that are not known are left out, so that the protocol can grow.
    ///
    /// # Errors
    /// [`TooLong`]: the stream is of no more use.
    pub fn feed(&mut self, mut plain: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameTooLong> {
        while !plain.is_empty() || self.partial.len() == HEADER_BYTES {
            if self.partial.len() < HEADER_BYTES {
                let take = (HEADER_BYTES - self.partial.len()).min(plain.len());
                self.partial.extend_from_slice(&plain[..take]);
                plain = &plain[take..];
                if self.partial.len() < HEADER_BYTES {
                    break;
                }
            }
            let length = u32::from_be_bytes([
                self.partial[1],
                self.partial[2],
                self.partial[3],
                self.partial[4],
            ]) as usize;
            if length > PAYLOAD_MAX_BYTES {
                return Err(FrameTooLong);
            }
            let take = (HEADER_BYTES + length - self.partial.len()).min(plain.len());
            self.partial.extend_from_slice(&plain[..take]);
            plain = &plain[take..];
            if self.partial.len() < HEADER_BYTES + length {
                break;
            }
            let mut payload = std::mem::take(&mut self.partial);
            let kind = FrameKind::from_byte(payload[0]);
            payload.drain(..HEADER_BYTES);
            if let Some(kind) = kind {
                out.push(Frame { kind, payload });
            }
        }
        Ok(())
    }
}

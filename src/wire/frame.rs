//! Frames of the decrypted stream. A frame consists of its kind (1 byte), the length of its
//! payload (4 bytes, big endian), and the payload. A frame may span several Noise messages, and a
//! Noise message may contain several frames.
use crate::base::batch::batch::BATCH_MAX_BYTES;

/// Length of a frame's header, in bytes. The header contains the kind of the frame and the length
/// of the payload.
pub const HEADER_BYTES: usize = 5;
/// Longest payload, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = BATCH_MAX_BYTES;
/// Memory that a decoded frame takes besides its payload, in bytes: its record in a list, and the
/// allocator's share.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// What the payload of a frame contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A [`Message`](super::message::Message) in JSON.
    Message,
    /// A batch, in the exact bytes that its author signed.
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

/// A decoded frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload contains.
    pub kind: FrameKind,
    /// The payload. At most [`PAYLOAD_MAX_BYTES`] long.
    pub payload: Vec<u8>,
}

impl Frame {
    /// About how much memory the frame takes, in bytes. Even a frame without payload costs memory.
    pub fn memory_bytes(&self) -> usize {
        FRAME_OVERHEAD_BYTES + self.payload.len()
    }
}

/// The header of a frame announces a payload longer than [`PAYLOAD_MAX_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameTooLong;

/// Appends a frame to `out`. The payload must not exceed [`PAYLOAD_MAX_BYTES`].
pub fn write_frame(kind: FrameKind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER_BYTES + payload.len());
    out.push(kind.to_byte());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

/// Assembles frames from pieces of any size. Buffers at most one incomplete frame.
#[derive(Default)]
pub struct FrameDecoder {
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl FrameDecoder {
    /// Number of bytes of the incomplete frame.
    pub fn buffered_bytes(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    /// Decodes the decrypted bytes `plain` and appends the complete frames to `out`. Skips frames
    /// of unknown kinds, which later versions may send.
    ///
    /// # Errors
    /// A frame is too long. The rest of the stream cannot be decoded.
    pub fn feed(&mut self, mut plain: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameTooLong> {
        loop {
            move_up_to(HEADER_BYTES, &mut plain, &mut self.header);
            let [kind, a, b, c, d] = self.header[..] else {
                return Ok(());
            };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length > PAYLOAD_MAX_BYTES {
                return Err(FrameTooLong);
            }
            move_up_to(length, &mut plain, &mut self.payload);
            if self.payload.len() < length {
                return Ok(());
            }
            self.header.clear();
            let payload = std::mem::take(&mut self.payload);
            if let Some(kind) = FrameKind::from_byte(kind) {
                out.push(Frame { kind, payload });
            }
        }
    }
}

/// Moves bytes from the front of `from` to the end of `to`, until `to` has this length.
fn move_up_to(length: usize, from: &mut &[u8], to: &mut Vec<u8>) {
    let missing = length.saturating_sub(to.len()).min(from.len());
    let (taken, rest) = from.split_at(missing);
    to.extend_from_slice(taken);
    *from = rest;
}

//! The frames of WebSocket (RFC 6455, section 5).

/// Longest text message, in bytes. A stream with a longer one ends. It fits a line with escapes.
pub const WEBSOCKET_MESSAGE_MAX_BYTES: usize = 32 * 1024;
/// Longest content of a control frame, in bytes (RFC 6455, 5.5).
const CONTROL_MAX_BYTES: usize = 125;

/// What a frame contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation,
    /// The first part of a text.
    Text,
    /// The end of the stream.
    Close,
    /// A question whether the other side is there.
    Ping,
    /// The answer.
    Pong,
}

impl Opcode {
    /// All opcodes with their numbers. Binary messages are none of ours.
    const ALL: [(Opcode, u8); 5] = [
        (Opcode::Continuation, 0),
        (Opcode::Text, 1),
        (Opcode::Close, 8),
        (Opcode::Ping, 9),
        (Opcode::Pong, 10),
    ];

    fn number(self) -> u8 {
        let mut all = Opcode::ALL.into_iter();
        all.find(|(opcode, _)| *opcode == self)
            .map_or(0, |(_, n)| n)
    }

    fn is_control(self) -> bool {
        self.number() >= 8
    }
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketFrame {
    /// What it contains.
    pub opcode: Opcode,
    /// Whether it is the last one of its message.
    pub is_last: bool,
    /// The content, without mask.
    pub content: Vec<u8>,
}

/// The bytes break a rule of the protocol, or exceed a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameViolation;

impl WebSocketFrame {
    /// Parses the first frame of these bytes. Returns it and its length, or `None` if it is not
    /// complete. Whatever length its header names, no more than `content_max` bytes are awaited.
    ///
    /// # Errors
    /// A reserved bit or opcode, a mask where none belongs or a lack of one, a control frame in
    /// parts, a length that is not written in its shortest form, or a content of more bytes.
    pub fn parse(
        bytes: &[u8],
        is_masked: bool,
        content_max: usize,
    ) -> Result<Option<(WebSocketFrame, usize)>, FrameViolation> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Ok(None);
        };
        let mut opcodes = Opcode::ALL.into_iter();
        let opcode = opcodes.find(|(_, number)| *number == first & 0x0f);
        let (opcode, _) = opcode.ok_or(FrameViolation)?;
        let is_last = first & 0x80 != 0;
        if first & 0x70 != 0 || (second & 0x80 != 0) != is_masked {
            return Err(FrameViolation);
        }
        let short = usize::from(second & 0x7f);
        let length_bytes = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(length_bytes) else {
            return Ok(None);
        };
        let long = length
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte));
        let length = match short {
            126 if long >= 126 => long as usize,
            127 if long > u64::from(u16::MAX) => usize::try_from(long).unwrap_or(usize::MAX),
            126 | 127 => return Err(FrameViolation),
            _ => short,
        };
        let is_whole_control = is_last && length <= CONTROL_MAX_BYTES;
        match opcode.is_control() {
            true if !is_whole_control => return Err(FrameViolation),
            false if length > content_max => return Err(FrameViolation),
            _ => {}
        }
        let mask_bytes = if is_masked { 4 } else { 0 };
        let Some((mask, rest)) = rest.split_at_checked(mask_bytes) else {
            return Ok(None);
        };
        let Some(content) = rest.get(..length) else {
            return Ok(None);
        };
        let mut content = content.to_vec();
        apply_mask(&mut content, mask);
        let frame = WebSocketFrame {
            opcode,
            is_last,
            content,
        };
        Ok(Some((frame, 2 + length_bytes + mask_bytes + length)))
    }
}

/// Appends a frame that is the only one of its message. A client masks it, a server does not.
pub fn write_frame(opcode: Opcode, content: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode.number());
    match content.len() {
        length @ ..126 => out.push(mask_bit | length as u8),
        length @ 126..=0xffff => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = mask.unwrap_or_default();
    if mask_bit != 0 {
        out.extend_from_slice(&mask);
    }
    let begin = out.len();
    out.extend_from_slice(content);
    apply_mask(&mut out[begin..], &mask);
}

fn apply_mask(content: &mut [u8], mask: &[u8]) {
    for (byte, mask) in content.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

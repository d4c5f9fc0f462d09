//! An encrypted stream of frames: combines encryption and framing.
use crate::wire::frame::{Frame, FrameDecoder, FrameKind, write_frame};
use crate::wire::message::Message;
use crate::wire::noise::Transport;

/// The channel failed, and its stream must be closed. Either received bytes cannot be decrypted, or
/// they are no valid frames, or no nonces are left for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelBroken;

/// Encrypts and decrypts the frames of one stream, after its Noise handshake.
pub struct Channel {
    transport: Box<Transport>,
    decoder: FrameDecoder,
}

impl Channel {
    /// Creates the channel of a link whose handshake is complete.
    pub fn new(transport: Box<Transport>) -> Channel {
        Channel {
            transport,
            decoder: FrameDecoder::default(),
        }
    }

    /// The peer's X25519 key, proven by the handshake.
    pub fn remote_static_key(&self) -> [u8; 32] {
        self.transport.remote_static_key
    }

    /// The hash of the handshake. It is the same on both sides, and different for every stream.
    pub fn handshake_hash(&self) -> &[u8; 32] {
        &self.transport.handshake_hash
    }

    /// Decrypts received bytes and appends the completed frames to `frames`. `buffer` is scratch
    /// space.
    ///
    /// # Errors
    /// [`ChannelBroken`]. Frames before the invalid bytes are appended nevertheless.
    pub fn open(
        &mut self,
        bytes: &[u8],
        buffer: &mut Vec<u8>,
        frames: &mut Vec<Frame>,
    ) -> Result<(), ChannelBroken> {
        let decoder = &mut self.decoder;
        let mut is_framed = true;
        let opened = self.transport.open(bytes, buffer, |plain| {
            is_framed &= decoder.feed(plain, frames).is_ok();
        });
        match opened.is_ok() && is_framed {
            true => Ok(()),
            false => Err(ChannelBroken),
        }
    }

    /// Number of received bytes that wait for the rest of their Noise message or frame.
    pub fn buffered_bytes(&self) -> usize {
        self.transport.buffered_bytes() + self.decoder.buffered_bytes()
    }

    /// Encrypts whole frames and appends the ciphertext to `out`.
    ///
    /// # Errors
    /// [`ChannelBroken`] after 2^64 − 1 Noise messages.
    pub fn seal(&mut self, frames: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelBroken> {
        self.transport.seal(frames, out).map_err(|_| ChannelBroken)
    }

    /// Encodes, frames and encrypts one message. Appends the ciphertext to `out`.
    ///
    /// # Errors
    /// The errors of [`Channel::seal`].
    pub fn seal_message(
        &mut self,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<(), ChannelBroken> {
        let mut frame = Vec::new();
        write_frame(FrameKind::Message, &message.encode(), &mut frame);
        self.seal(&frame, out)
    }
}

//! The hello: the first message that each side sends on a new link.
use crate::base::name::Room;
use crate::node::context::Context;
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{ByeReason, Hello, Message, ROOMS_MAX, room_hash};

/// Builds our hello. Contains a hash of each joined room, keyed with the handshake hash of the
/// stream.
pub fn own(ctx: &Context, handshake_hash: &[u8; 32], joined: &[Room]) -> Message {
    Message::Hello(Hello {
        sender: ctx.own_id(),
        username: ctx.nick.to_string(),
        run: ctx.run,
        age: ctx.now.time.0,
        wall: ctx.now.wall,
        rooms: joined
            .iter()
            .map(|room| room_hash(handshake_hash, room))
            .collect(),
        port: ctx.port,
        passing: ctx.transient,
        ephemeral: ctx.is_ephemeral,
        members_digests: true,
    })
}

/// Parses a hello, the first frame of a stream. Returns `None` if the frame is no hello, or has
/// more than [`ROOMS_MAX`] rooms. Also returns `None` if the sender's key is not the key that the
/// handshake proved.
pub fn parse(frame: &Frame, remote_static_key: [u8; 32]) -> Option<Hello> {
    if frame.kind != FrameKind::Message {
        return None;
    }
    let Some(Message::Hello(hello)) = Message::parse(&frame.payload) else {
        return None;
    };
    let is_proven = hello.sender.noise_key() == Some(remote_static_key);
    (is_proven && hello.rooms.len() <= ROOMS_MAX).then_some(hello)
}

/// The reason of a refusal, which comes in place of a hello.
pub fn refusal(frame: &Frame) -> Option<ByeReason> {
    match Message::parse(&frame.payload) {
        Some(Message::Bye { reason }) if frame.kind == FrameKind::Message => Some(reason),
        _ => None,
    }
}

//! LSNP between core and shell: datagrams, and what its users request.
use std::net::SocketAddrV4;

use crate::base::guests::guest::LineTarget;
use crate::base::name::Room;
use crate::base::presence::profile::Profile;

/// How this program speaks LSNP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LsnpConfig {
    /// The UDP port on which we get what others send to us alone.
    pub port: u16,
    /// The room in which we repeat what guests say to everybody. `None`: in none.
    pub repeat_room: Option<Room>,
}

/// A datagram that arrived on a port of LSNP.
#[derive(Clone, Copy, Debug)]
pub struct LsnpInput<'a> {
    /// Index of the interface that received the datagram.
    pub interface: u32,
    /// The sender's address.
    pub source: SocketAddrV4,
    /// Whether the datagram came to the port of discovery, which all programs share. Otherwise it
    /// came to our own port.
    pub is_to_all: bool,
    /// The payload.
    pub bytes: &'a [u8],
}

/// A datagram to send from our port of LSNP.
#[derive(Debug)]
pub struct LsnpOutput {
    /// Index of the interface on which to send it. `None`: the routes of the host decide.
    pub interface: Option<u32>,
    /// The recipient. `None`: everybody on the interface, at the port of discovery.
    pub to: Option<SocketAddrV4>,
    /// The payload.
    pub bytes: Vec<u8>,
    /// The line of our user's in the payload. If it contains one, [`Input::LsnpLine`] follows.
    ///
    /// [`Input::LsnpLine`]: crate::base::event::input::Input::LsnpLine
    pub line: Option<LineTarget>,
}

/// What a user of LSNP requests, beside lines to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LsnpRequest {
    /// Change the display name, the status and the picture of our profile, and tell all guests.
    Profile(Profile),
    /// Ask all guests whom they know.
    List,
    /// Show every message of LSNP that arrives, or cease to.
    Verbose,
}

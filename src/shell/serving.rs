//! What is asked for over the local socket, done by the loop.
use std::io;

use super::envelope::{Request, Welcome};
use super::event_loop::EventLoop;
use super::options::REPEATS_MAX;
use super::resolver::Name;
use crate::base::event::{Command, Input};

impl EventLoop {
    /// What others want who act through this program.
    ///
    /// # Errors
    /// A room's history cannot be opened.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        self.control.read(self.poll.registry(), || Welcome {
            me: self.node.me(),
            port: self.streams.port().unwrap_or(0),
            age: self.now.time.0,
            prints: self.session.prints(),
            met: self.node.linked() > 0,
            network: self.node.network(),
            multicast: self.options.multicast,
            interfaces: self.options.interfaces.clone(),
        });
        let mut takes = self.takes();
        while let Some(request) = self.control.next(takes) {
            match request {
                Request::Join(room) => {
                    self.open(&room)?;
                    if self.node.rooms().contains(&room) {
                        self.control.joined(&room, self.store.end(&(&room).into()));
                    } else {
                        self.control.not_joined(&room);
                    }
                }
                Request::Part(room) => self.control.parted(&room, &self.store),
                Request::Command(command) => {
                    let room = match &command {
                        Command::Say { room, .. } => room.clone(),
                        _ => None,
                    };
                    self.feed(Input::Command(command));
                    if let Some(room) = room {
                        let joined = self.node.rooms().contains(&room);
                        self.control.said(room, joined);
                    }
                }
                Request::Dial(place) => {
                    let places = &mut self.options.peers;
                    if !places.contains(&place) && places.len() < REPEATS_MAX {
                        (self.look_up)(vec![Name::of(&place)]);
                        places.push(place);
                    }
                }
                Request::Peers(_) => self.feed(Input::Command(Command::Peers)),
                Request::Stats(_) => self.feed(Input::Command(Command::Stats)),
                Request::Await(log, sequence) => self.control.awaits(log, sequence),
                Request::Follow | Request::Finish(_) => {}
            }
            takes = self.takes();
        }
        Ok(())
    }
}

//! What is asked for over the local socket, done by the loop.
use crate::base::event::{Command, Input};
use crate::base::lines::Lines;
use crate::base::name::{Folder, Target, Whom};
use crate::shell::config::options::REPEATS_MAX;
use crate::shell::ipc::message::{Request, Welcome};
use crate::shell::net::resolver::Name;
use crate::shell::runtime::event_loop::EventLoop;

/// Longest time that a reader is looked for, in milliseconds: a day.
const FIND_MAX: u64 = 24 * 3_600_000;

impl EventLoop {
    /// What others want who act through this program.
    pub(super) fn serve(&mut self) {
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
                    self.try_open(&room, false);
                    if self.node.rooms().contains(&room) {
                        self.control.joined((&room).into(), &self.store);
                    } else {
                        self.control.not_joined(&room);
                    }
                }
                Request::Direct => self.control.joined(Folder::direct(), &self.store),
                Request::Part(room) => self.control.parted(&room, &self.store),
                Request::Say {
                    target,
                    lines,
                    action,
                } => self.say(target, lines, action),
                Request::Find(whom, within) => {
                    let serial = self.control.finds();
                    self.feed(Input::Command(Command::Find {
                        serial,
                        whom,
                        within: within.min(FIND_MAX),
                    }));
                }
                Request::Nick(nick) => self.feed(Input::Command(Command::Nick(nick))),
                Request::Dial(place) => {
                    let places = &mut self.options.peers;
                    if !places.contains(&place) && places.len() < REPEATS_MAX {
                        (self.look_up)(vec![Name::of(&place)]);
                        places.push(place);
                    }
                }
                Request::Peers(_) => self.feed(Input::Command(Command::Peers)),
                Request::Stats(_) => self.feed(Input::Command(Command::Stats)),
                Request::Shown(log, sequence) => {
                    self.feed(Input::Command(Command::Shown { log, sequence }));
                }
                Request::Await(log, sequence) => self.control.awaits(log, sequence),
                Request::Follow | Request::Finish(_) => {}
            }
            takes = self.takes();
        }
    }

    fn say(&mut self, target: Target, lines: Lines, action: bool) {
        let before = self.node.head(&target);
        self.feed(Input::Command(match &target {
            Target::Room(room) => Command::Say {
                room: Some(room.clone()),
                lines,
                action,
            },
            Target::Peer(id) => Command::Tell {
                whom: Whom::from(id),
                lines,
                action,
                within: 0,
            },
        }));
        let taken = match &target {
            Target::Room(room) => self.node.rooms().contains(room),
            Target::Peer(_) => self.node.head(&target) != before,
        };
        self.control.said(target, taken);
    }
}

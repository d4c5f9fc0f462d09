//! What a person or script asks of the core, in order.
use std::collections::VecDeque;

use crate::base::event::Command;
use crate::base::lines::Lines;
use crate::base::name::PeerSelector;

pub struct CommandQueue {
    /// What is to be said has with it the numbers of its lines, where they came from a script.
    queue: VecDeque<(Command, Vec<u64>)>,
    /// To whom lines without a target are said; `None`: in the room spoken in.
    to_peer: Option<PeerSelector>,
    /// Milliseconds in which a peer that is written to must be found.
    resolve_timeout_ms: u64,
}

impl CommandQueue {
    pub fn new(to: Option<PeerSelector>, within: u64) -> CommandQueue {
        CommandQueue {
            queue: VecDeque::new(),
            to_peer: to,
            resolve_timeout_ms: within,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// There are lines to be said.
    pub fn has_lines(&self) -> bool {
        let says =
            |c: &Command| matches!(c, Command::SendToRoom { .. } | Command::SendToPeer { .. });
        self.queue.iter().any(|(command, _)| says(command))
    }

    /// Whether all is done cannot be known before these are handed on.
    pub fn has_delivery_commands(&self) -> bool {
        let finishes =
            |c: &Command| matches!(c, Command::AwaitDelivery { .. } | Command::Finish { .. });
        self.has_lines() || self.queue.iter().any(|(command, _)| finishes(command))
    }

    pub fn pop(&mut self) -> Option<(Command, Vec<u64>)> {
        self.queue.pop_front()
    }

    /// Before all others, as it is.
    pub fn push_front(&mut self, command: Command) {
        self.queue.push_front((command, Vec::new()));
    }

    /// Lines without a target of their own.
    pub fn push_lines(&mut self, lines: Lines) {
        self.push(Command::SendToRoom {
            room: None,
            lines,
            action: false,
        });
    }

    pub fn push(&mut self, command: Command) {
        self.push_from_line(command, None);
    }

    /// What a line of stdin of this number asks for.
    pub fn push_from_line(&mut self, mut command: Command, line: Option<u64>) {
        if let (
            Command::SendToRoom {
                room: None,
                lines,
                action,
            },
            Some(whom),
        ) = (&mut command, &self.to_peer)
        {
            command = Command::SendToPeer {
                selector: whom.clone(),
                lines: std::mem::take(lines),
                action: *action,
                timeout_ms: 0,
            };
        }
        match (self.queue.back_mut(), &mut command) {
            // Lines that follow each other in one room are said together.
            (
                Some((
                    Command::SendToRoom {
                        room: last,
                        lines: before,
                        action: false,
                    },
                    numbers,
                )),
                Command::SendToRoom {
                    room,
                    lines,
                    action: false,
                },
            ) if *last == *room => {
                numbers.extend(line);
                return before.append(lines);
            }
            (
                _,
                Command::SendToPeer {
                    timeout_ms: within, ..
                },
            ) => *within = self.resolve_timeout_ms,
            _ => {}
        }
        let says = matches!(command, Command::SendToRoom { .. });
        let numbers = line.into_iter().filter(|_| says).collect();
        self.queue.push_back((command, numbers));
    }
}

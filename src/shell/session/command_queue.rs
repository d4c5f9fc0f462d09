//! The commands for the core, in the order in which the user gave them.
use std::collections::VecDeque;

use crate::base::event::Command;
use crate::base::lines::Lines;
use crate::base::name::PeerSelector;

/// A command, with the lines of stdin that it came from.
pub struct QueuedCommand {
    /// What the core is to do.
    pub command: Command,
    /// The numbers of the lines of a script that are sent to a room; an error names them.
    pub line_numbers: Vec<u64>,
}

impl QueuedCommand {
    fn sends_lines(&self) -> bool {
        matches!(
            self.command,
            Command::SendToRoom { .. } | Command::SendToPeer { .. }
        )
    }

    fn awaits_delivery(&self) -> bool {
        matches!(
            self.command,
            Command::AwaitDelivery { .. } | Command::Finish { .. }
        )
    }
}

/// Commands not yet handed to the core.
pub struct CommandQueue {
    queue: VecDeque<QueuedCommand>,
    /// The recipient of lines without a target; `None`: the current room.
    to_peer: Option<PeerSelector>,
    /// How long the recipient of a direct message may take to be found, in milliseconds.
    resolve_timeout_ms: u64,
}

impl CommandQueue {
    /// An empty queue. Lines without a target go `to_peer`, or else to the current room.
    pub fn new(to_peer: Option<PeerSelector>, resolve_timeout_ms: u64) -> CommandQueue {
        CommandQueue {
            queue: VecDeque::new(),
            to_peer,
            resolve_timeout_ms,
        }
    }

    /// No command is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// A queued command sends lines.
    pub fn has_lines(&self) -> bool {
        self.queue.iter().any(QueuedCommand::sends_lines)
    }

    /// A queued command sends lines or awaits delivery: the core does not know of it yet, so the
    /// run cannot be over.
    pub fn has_delivery_commands(&self) -> bool {
        let concerns_delivery =
            |queued: &QueuedCommand| queued.sends_lines() || queued.awaits_delivery();
        self.queue.iter().any(concerns_delivery)
    }

    /// Takes the oldest command.
    pub fn pop(&mut self) -> Option<QueuedCommand> {
        self.queue.pop_front()
    }

    /// Queues a command before all others, unchanged.
    pub fn push_front(&mut self, command: Command) {
        self.queue.push_front(QueuedCommand {
            command,
            line_numbers: Vec::new(),
        });
    }

    /// Queues lines without a target.
    pub fn push_lines(&mut self, lines: Lines) {
        self.push(Command::SendToRoom {
            room: None,
            lines,
            action: false,
        });
    }

    /// Queues a command that came by another way than a line of a script.
    pub fn push(&mut self, command: Command) {
        self.push_from_line(command, None);
    }

    /// Queues a command that line `line_number` of a script asks for. Lines for the same room as
    /// the last queued ones join them, so that they are signed in one batch.
    pub fn push_from_line(&mut self, command: Command, line_number: Option<u64>) {
        let mut command = self.with_recipient(command);
        if let (
            Some(last),
            Command::SendToRoom {
                room,
                lines,
                action: false,
            },
        ) = (self.queue.back_mut(), &mut command)
            && let Command::SendToRoom {
                room: last_room,
                lines: last_lines,
                action: false,
            } = &mut last.command
            && last_room == room
        {
            last.line_numbers.extend(line_number);
            return last_lines.append(lines);
        }
        let is_for_room = matches!(command, Command::SendToRoom { .. });
        self.queue.push_back(QueuedCommand {
            command,
            line_numbers: line_number.filter(|_| is_for_room).into_iter().collect(),
        });
    }

    /// Lines without a target go to the peer of this run; each recipient gets its time limit.
    fn with_recipient(&self, command: Command) -> Command {
        match (command, &self.to_peer) {
            (
                Command::SendToRoom {
                    room: None,
                    lines,
                    action,
                },
                Some(selector),
            ) => Command::SendToPeer {
                selector: selector.clone(),
                lines,
                action,
                timeout_ms: self.resolve_timeout_ms,
            },
            (
                Command::SendToPeer {
                    selector,
                    lines,
                    action,
                    ..
                },
                _,
            ) => Command::SendToPeer {
                selector,
                lines,
                action,
                timeout_ms: self.resolve_timeout_ms,
            },
            (command, _) => command,
        }
    }
}

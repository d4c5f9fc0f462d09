//! The queue of commands for the core, in the order in which the user gave them.
use std::collections::VecDeque;

use crate::base::event::Command;
use crate::base::lines::Lines;
use crate::base::name::PeerSelector;

/// A queued command, and the numbers of the stdin lines that it sends.
pub struct QueuedCommand {
    /// The command for the core.
    pub command: Command,
    /// Numbers of the stdin lines that this command sends to a room, for error messages. Empty if
    /// the command does not send to a room.
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

/// Commands that wait to be passed to the core.
pub struct CommandQueue {
    queue: VecDeque<QueuedCommand>,
    /// The recipient of lines without a target; `None`: such lines go to the current room.
    to_peer: Option<PeerSelector>,
    /// Time limit for finding the recipient of a direct message, in milliseconds.
    resolve_timeout_ms: u64,
}

impl CommandQueue {
    /// An empty queue. `to_peer`: the recipient of lines without a target; `None`: such lines go
    /// to the current room.
    pub fn new(to_peer: Option<PeerSelector>, resolve_timeout_ms: u64) -> CommandQueue {
        CommandQueue {
            queue: VecDeque::new(),
            to_peer,
            resolve_timeout_ms,
        }
    }

    /// Whether no command is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a queued command sends lines.
    pub fn has_lines(&self) -> bool {
        self.queue.iter().any(QueuedCommand::sends_lines)
    }

    /// Whether a queued command sends lines or awaits delivery. While such a command is queued, the
    /// core cannot tell whether all lines are delivered.
    pub fn has_delivery_commands(&self) -> bool {
        let concerns_delivery =
            |queued: &QueuedCommand| queued.sends_lines() || queued.awaits_delivery();
        self.queue.iter().any(concerns_delivery)
    }

    /// Removes and returns the oldest command.
    pub fn pop(&mut self) -> Option<QueuedCommand> {
        self.queue.pop_front()
    }

    /// Queues a command before all others. Does not change the recipient or the time limit of the
    /// command.
    pub fn push_front(&mut self, command: Command) {
        self.queue.push_front(QueuedCommand {
            command,
            line_numbers: Vec::new(),
        });
    }

    /// Queues lines without a target. The lines go to the recipient of `send --to`, or to the
    /// current room.
    pub fn push_lines(&mut self, lines: Lines) {
        self.push(Command::SendToRoom {
            room: None,
            lines,
            action: false,
        });
    }

    /// Queues a command that does not come from a line of stdin.
    pub fn push(&mut self, command: Command) {
        self.push_from_line(command, None);
    }

    /// Queues a command. `line_number`: the number of the stdin line that contains the command. If
    /// the last queued command sends lines to the same room, the new lines are appended to that
    /// command. One signature then covers all these lines.
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

    /// Addresses lines without a target to the recipient of `send --to`, if that option was given.
    /// Sets the time limit for finding the recipient of a direct message.
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

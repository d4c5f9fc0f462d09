//! The queue of the user's commands, in the order in which the user gave them.
use std::collections::VecDeque;

use crate::base::lines::Lines;
use crate::base::name::PeerSelector;
use crate::base::text::line_form::LineForm;
use crate::ui::command::UserCommand;

/// A queued command, and where it comes from.
#[derive(Debug)]
pub struct QueuedCommand {
    /// What the user requests.
    pub command: UserCommand,
    /// Numbers of the stdin lines that contain this command, for error messages. Only a command
    /// that sends lines to a room may come from several. Empty if it does not come from stdin.
    pub line_numbers: Vec<u64>,
    /// The id that the user gave the request.
    pub user_id: Option<String>,
}

/// Commands that wait to be passed to the session.
pub struct CommandQueue {
    queue: VecDeque<QueuedCommand>,
    /// The recipient of lines without a target; `None`: such lines go to the current room.
    to_peer: Option<PeerSelector>,
    /// What lines without a target are.
    form: LineForm,
    /// Time limit for finding the recipient of a direct message, in milliseconds.
    resolve_timeout_ms: u64,
}

impl CommandQueue {
    /// An empty queue. `to_peer`: the recipient of lines without a target; `None`: such lines go
    /// to the current room. `form`: what such lines are.
    pub fn new(
        to_peer: Option<PeerSelector>,
        form: LineForm,
        resolve_timeout_ms: u64,
    ) -> CommandQueue {
        CommandQueue {
            queue: VecDeque::new(),
            to_peer,
            form,
            resolve_timeout_ms,
        }
    }

    /// What lines without a target are.
    pub fn form(&self) -> LineForm {
        self.form
    }

    /// Whether no command is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Number of queued commands.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a queued command sends lines.
    pub fn has_lines(&self) -> bool {
        self.queue.iter().any(|queued| sends_lines(&queued.command))
    }

    /// The oldest command.
    pub fn front(&self) -> Option<&QueuedCommand> {
        self.queue.front()
    }

    /// Removes and returns the oldest command.
    pub fn pop(&mut self) -> Option<QueuedCommand> {
        self.queue.pop_front()
    }

    /// Removes and returns the oldest command. If its lines exceed one batch, removes and returns
    /// only the lines of the first batch. The remaining lines stay queued.
    pub fn pop_batch(&mut self) -> Option<QueuedCommand> {
        let front = self.queue.front_mut()?;
        let (UserCommand::SendToRoom { lines, .. } | UserCommand::SendToPeer { lines, .. }) =
            &mut front.command
        else {
            return self.pop();
        };
        let batch = lines.take_batch();
        if lines.is_empty() {
            let mut last = self.queue.pop_front()?;
            set_lines(&mut last.command, batch);
            return Some(last);
        }
        let mut command = without_lines(&front.command);
        set_lines(&mut command, batch);
        Some(QueuedCommand {
            command,
            line_numbers: front.line_numbers.clone(),
            user_id: None,
        })
    }

    /// Queues lines without a target. The lines go to the recipient of `send --to`, or to the
    /// current room.
    pub fn push_lines(&mut self, lines: Lines) {
        let command = UserCommand::SendToRoom {
            room: None,
            lines,
            form: self.form,
        };
        self.push(command, None, None);
    }

    /// Queues a command. `line_number`: the number of the stdin line that contains the command. If
    /// the last queued command sends lines to the same room, the new lines are appended to that
    /// command. One signature then covers all these lines.
    pub fn push(
        &mut self,
        command: UserCommand,
        line_number: Option<u64>,
        user_id: Option<String>,
    ) {
        let mut command = self.with_recipient(command);
        if let (
            Some(last),
            None,
            UserCommand::SendToRoom {
                room,
                lines,
                form: LineForm::Text,
            },
        ) = (self.queue.back_mut(), &user_id, &mut command)
            && last.user_id.is_none()
            && let UserCommand::SendToRoom {
                room: last_room,
                lines: last_lines,
                form: LineForm::Text,
            } = &mut last.command
            && last_room == room
        {
            last.line_numbers.extend(line_number);
            return last_lines.append(lines);
        }
        self.queue.push_back(QueuedCommand {
            command,
            line_numbers: line_number.into_iter().collect(),
            user_id,
        });
    }

    /// Addresses lines without a target to the recipient of `send --to`, if that option was given.
    /// Sets the time limit for finding the recipient of a direct message.
    fn with_recipient(&self, command: UserCommand) -> UserCommand {
        let timeout_ms = self.resolve_timeout_ms;
        match (command, &self.to_peer) {
            (
                UserCommand::SendToRoom {
                    room: None,
                    lines,
                    form,
                },
                Some(selector),
            ) => UserCommand::SendToPeer {
                selector: selector.clone(),
                lines,
                form,
                timeout_ms,
            },
            (
                UserCommand::SendToPeer {
                    selector,
                    lines,
                    form,
                    ..
                },
                _,
            ) => UserCommand::SendToPeer {
                selector,
                lines,
                form,
                timeout_ms,
            },
            (command, _) => command,
        }
    }
}

/// Whether the command sends lines.
pub fn sends_lines(command: &UserCommand) -> bool {
    lines_of(command).is_some()
}

/// The lines that the command sends; `None`: it sends none.
pub fn lines_of(command: &UserCommand) -> Option<&Lines> {
    match command {
        UserCommand::SendToRoom { lines, .. } | UserCommand::SendToPeer { lines, .. } => {
            Some(lines)
        }
        _ => None,
    }
}

fn set_lines(command: &mut UserCommand, new: Lines) {
    if let UserCommand::SendToRoom { lines, .. } | UserCommand::SendToPeer { lines, .. } = command {
        *lines = new;
    }
}

/// A copy of a command that sends lines, without its lines.
fn without_lines(command: &UserCommand) -> UserCommand {
    match command {
        UserCommand::SendToRoom { room, form, .. } => UserCommand::SendToRoom {
            room: room.clone(),
            lines: Lines::default(),
            form: *form,
        },
        UserCommand::SendToPeer {
            selector,
            form,
            timeout_ms,
            ..
        } => UserCommand::SendToPeer {
            selector: selector.clone(),
            lines: Lines::default(),
            form: *form,
            timeout_ms: *timeout_ms,
        },
        command => command.clone(),
    }
}

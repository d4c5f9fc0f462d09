//! What a person or script asks of the core, in order.
use std::collections::VecDeque;

use crate::base::event::Command;
use crate::base::lines::Lines;
use crate::base::name::Whom;

pub struct Wishes {
    /// What is to be said has with it the numbers of its lines, where they came from a script.
    queue: VecDeque<(Command, Vec<u64>)>,
    /// To whom lines without a target are said; `None`: in the room spoken in.
    to: Option<Whom>,
    /// Milliseconds in which a peer that is written to must be found.
    within: u64,
}

impl Wishes {
    pub fn new(to: Option<Whom>, within: u64) -> Wishes {
        Wishes {
            queue: VecDeque::new(),
            to,
            within,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// There are lines to be said.
    pub fn says(&self) -> bool {
        let says = |c: &Command| matches!(c, Command::Say { .. } | Command::Tell { .. });
        self.queue.iter().any(|(command, _)| says(command))
    }

    /// Whether all is done cannot be known before these are handed on.
    pub fn decides(&self) -> bool {
        let finishes = |c: &Command| matches!(c, Command::Await { .. } | Command::Finish { .. });
        self.says() || self.queue.iter().any(|(command, _)| finishes(command))
    }

    pub fn pop(&mut self) -> Option<(Command, Vec<u64>)> {
        self.queue.pop_front()
    }

    /// Before all others, as it is.
    pub fn push_front(&mut self, command: Command) {
        self.queue.push_front((command, Vec::new()));
    }

    /// Lines without a target of their own.
    pub fn say(&mut self, lines: Lines) {
        self.push(Command::Say {
            room: None,
            lines,
            action: false,
        });
    }

    pub fn push(&mut self, command: Command) {
        self.push_of(command, None);
    }

    /// What a line of stdin of this number asks for.
    pub fn push_of(&mut self, mut command: Command, line: Option<u64>) {
        if let (
            Command::Say {
                room: None,
                lines,
                action,
            },
            Some(whom),
        ) = (&mut command, &self.to)
        {
            command = Command::Tell {
                whom: whom.clone(),
                lines: std::mem::take(lines),
                action: *action,
                within: 0,
            };
        }
        match (self.queue.back_mut(), &mut command) {
            // Lines that follow each other in one room are said together.
            (
                Some((
                    Command::Say {
                        room: last,
                        lines: before,
                        action: false,
                    },
                    numbers,
                )),
                Command::Say {
                    room,
                    lines,
                    action: false,
                },
            ) if *last == *room => {
                numbers.extend(line);
                return before.append(lines);
            }
            (_, Command::Tell { within, .. }) => *within = self.within,
            _ => {}
        }
        let says = matches!(command, Command::Say { .. });
        let numbers = line.into_iter().filter(|_| says).collect();
        self.queue.push_back((command, numbers));
    }
}

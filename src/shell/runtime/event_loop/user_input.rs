//! Executes what the user requests: input of the session, signals, and options that are read
//! again.
use crate::base::event::{Command, Input};
use crate::shell::config::options;
use crate::shell::config::reload;
use crate::shell::runtime::event_loop::event_loop::EventLoop;

impl EventLoop {
    /// Reads the session's input, and executes its commands. Before the core joins a room, opens
    /// the folder of the room.
    pub(super) fn handle_user_input(&mut self) {
        let can_accept = self.can_accept();
        self.session.read_input(self.now, can_accept);
        while let Some(command) = self.session.next_command(self.now.time) {
            if let Command::Join(room) = &command {
                let room = room.clone();
                self.open_room_or_notify(&room, true);
            }
            let changes_room = matches!(command, Command::Join(_) | Command::Part(_));
            match command {
                Command::Part(room) => self.part_room(room),
                command => self.handle_input(Input::Command(command)),
            }
            if changes_room {
                self.move_to_shown_room();
                self.session.set_current_room(self.node.current_room());
            }
        }
        self.session
            .poll_history_query(self.now, &self.store, self.node.current_room());
    }

    pub(super) fn handle_signals(&mut self) {
        for signal in self.signals.take_pending() {
            let is_reload = self.session.handle_signal(signal);
            if is_reload {
                self.reload_options();
            }
        }
    }

    /// Reads the options and the file `known_peers` again. If one of them cannot be read, its old
    /// values stay.
    fn reload_options(&mut self) {
        let mut warnings = Vec::new();
        match options::from_process() {
            Ok(options) => {
                let (commands, names) = reload::diff_options(&self.options, &options);
                self.options.username = options.username;
                self.options.rooms = options.rooms;
                self.options.static_peers = options.static_peers;
                self.session.queue_commands(commands);
                (self.resolve_hosts)(names);
            }
            Err(failure) => warnings.push(failure.message),
        }
        if self.state.directory().is_some() {
            match self.state.read_known_peers(&mut warnings) {
                Ok(known) => self.handle_input(Input::KnownPeers(known)),
                Err(failure) => warnings.push(failure.message),
            }
        }
        for warning in warnings {
            self.session.warn(&warning);
        }
    }
}

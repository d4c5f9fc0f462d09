//! Handles signals, and options that are read again.
use crate::base::event::input::Input;
use crate::shell::config::options;
use crate::shell::config::reload;
use crate::shell::runtime::event_loop::event_loop::EventLoop;
use crate::shell::runtime::ignored::load_ignored;

impl EventLoop {
    pub(super) fn handle_signals(&mut self) {
        for signal in self.signals.take_pending() {
            let is_reload = self.frontend.handle_signal(signal);
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
                let commands = reload::diff_options(&self.options, &options);
                self.options.username = options.username;
                self.options.rooms = options.rooms;
                self.frontend.queue_commands(commands);
                self.resolver.resolve_all();
                // What stands there unchanged may have been replaced with /connect.
                let before =
                    std::mem::replace(&mut self.options.static_peers, options.static_peers);
                let given = self.options.static_peers.iter();
                let added = given.filter(|endpoint| !before.contains(endpoint));
                let refused = added.filter_map(|it| self.resolver.add(it).err());
                warnings.extend(refused.last());
            }
            Err(failure) => warnings.push(failure.message),
        }
        for warning in warnings {
            self.frontend.warn(&warning);
        }
        self.reload_known_peers();
    }

    /// Reads the files `known_peers` and `ignored` again. If one cannot be read, its old content
    /// stays.
    pub(super) fn reload_known_peers(&mut self) {
        let mut warnings = Vec::new();
        match self.state.read_known_peers(&mut warnings) {
            Ok(known) => self.handle_input(Input::KnownPeers(known)),
            Err(failure) => warnings.push(failure.message),
        }
        if let Err(warning) = load_ignored(&self.state, &mut self.store) {
            warnings.push(warning);
        }
        for warning in warnings {
            self.frontend.warn(&warning);
        }
    }
}

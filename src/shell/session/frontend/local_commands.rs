//! The commands that a frontend executes itself: they concern the terminal, and the user's
//! settings.
use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::name::Nick;
use crate::shell::config::settings::{Setting, SettingName};
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::state::kept_settings::keep_setting;
use crate::shell::stdio::terminal;
use crate::ui::command::UserCommand;
use crate::ui::editor::line_editor::HAS_EDITOR;

impl Frontend {
    /// Executes a command that needs no session. `lines`: the numbers of its stdin lines.
    /// `user_id`: the id that a script gave it.
    pub(super) fn execute_here(
        &mut self,
        command: UserCommand,
        lines: &[u64],
        user_id: Option<String>,
    ) {
        let code = ErrorCode::Failed;
        match command {
            UserCommand::Clear if self.renderer.has_editor() => {
                self.renderer.clear_screen();
                self.redraw_editor();
            }
            UserCommand::Clear => {
                self.show_line_error(code, "there is no screen to clear", lines, user_id)
            }
            UserCommand::Verbose => {
                let sentence = self.stderr.toggle_debug();
                self.warn(sentence);
                if self.renderer.is_json() {
                    self.print_json_reply(Vec::new(), user_id, None);
                }
            }
            UserCommand::Set { .. } if !self.is_stdin_terminal => {
                let sentence = "/set is for who types at a terminal: give the program the option";
                self.show_line_error(code, sentence, lines, user_id);
            }
            UserCommand::Set { name, value } if HAS_EDITOR => {
                if let Err(sentence) = self.set(name.as_deref(), value.as_deref()) {
                    self.show_line_error(code, &sentence, lines, user_id);
                }
            }
            _ => {}
        }
    }

    fn set(&mut self, name: Option<&str>, value: Option<&str>) -> Result<(), String> {
        let name = name.map(SettingName::parse).transpose()?;
        let (Some(name), Some(value)) = (name, value) else {
            let settings = self.settings().into_iter();
            let shown = settings.filter(|setting| name.is_none_or(|name| name == setting.name()));
            let rows = shown.map(|it| format!("{:<16}{}\n", it.name().as_str(), it.value()));
            self.show_message(rows.collect::<String>().into_bytes());
            return Ok(());
        };
        let setting = name.with_value(value)?;
        match &setting {
            Setting::Username(nick) => {
                let command = UserCommand::Core(Command::Nick(nick.clone()));
                self.commands.push(command, None, None);
                // As with /nick, it is kept when the command is executed.
                return Ok(());
            }
            Setting::Color(color) => {
                self.settings.color = *color;
                self.renderer.set_palette(terminal::palette(*color));
            }
            Setting::Bell(has_bell) => {
                self.settings.has_bell = *has_bell;
                self.renderer.set_bell(*has_bell);
            }
            Setting::Typing(is_on) => self.settings.tells_typing = *is_on,
            Setting::HistoryDirect(is_on) => self.keeps_typed_direct = *is_on,
        }
        let kept = self.keep(&setting)?;
        self.warn(&format!("{} is {}{kept}", name.as_str(), setting.value()));
        Ok(())
    }

    fn settings(&self) -> Vec<Setting> {
        let own_nick = self.own_nick.clone();
        vec![
            Setting::Username(own_nick),
            Setting::Color(self.settings.color),
            Setting::Bell(self.settings.has_bell),
            Setting::Typing(self.settings.tells_typing),
            Setting::HistoryDirect(self.keeps_typed_direct),
        ]
    }

    /// Keeps a setting for the next run. Returns the end of a sentence about that.
    fn keep(&self, setting: &Setting) -> Result<String, String> {
        if let Some(reason) = self.settings.unkept_reason(setting) {
            return Ok(format!(", in this run: {reason}"));
        }
        let path = keep_setting(setting, &|name| std::env::var_os(name))?;
        Ok(format!(", also in later runs: {}", path.display()))
    }

    /// Keeps a name that the user gave with /nick. A script changes it for its run only.
    pub(super) fn keep_typed_nick(&mut self, nick: &Nick) {
        self.own_nick = nick.clone();
        if self.is_stdin_terminal {
            match self.keep(&Setting::Username(nick.clone())) {
                Ok(kept) => self.warn(&format!("username is {nick}{kept}")),
                Err(sentence) => self.warn(&format!("the name is not kept: {sentence}")),
            }
        }
    }
}

//! The options that /set changes while the program runs, and keeps in the options file.
use std::ffi::OsStr;

use crate::base::name::Nick;
use crate::shell::config::arguments::parse_options_file;
use crate::shell::config::environment::{EnvLookup, non_empty_variable};
use crate::shell::config::failure::Failure;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::options::Options;
use crate::shell::config::options_file::OptionsFile;
use crate::shell::config::values::{self, Color};

/// The names that /set knows. Each is that of a setting; `nick` is another name for `username`.
pub const SETTING_NAMES: &str = "username, color, bell, typing, history-direct";

/// The options that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingName {
    /// Our name.
    Username,
    /// When the transcript is coloured.
    Color,
    /// Whether the bell rings.
    Bell,
    /// Whether others are told that the user types.
    Typing,
    /// Whether typed direct messages are recalled after a restart.
    HistoryDirect,
}

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// See [`SettingName::Username`].
    Username(Nick),
    /// See [`SettingName::Color`].
    Color(Color),
    /// See [`SettingName::Bell`].
    Bell(bool),
    /// See [`SettingName::Typing`].
    Typing(bool),
    /// See [`SettingName::HistoryDirect`].
    HistoryDirect(bool),
}

impl SettingName {
    /// Parses a name, in either case of letters.
    ///
    /// # Errors
    /// There is no such setting. The error is a sentence for the user.
    pub fn parse(name: &str) -> Result<SettingName, String> {
        match name.to_lowercase().as_str() {
            "username" | "nick" => Ok(SettingName::Username),
            "color" => Ok(SettingName::Color),
            "bell" => Ok(SettingName::Bell),
            "typing" => Ok(SettingName::Typing),
            "history-direct" => Ok(SettingName::HistoryDirect),
            _ => Err(format!("/set knows no {name}: it takes {SETTING_NAMES}")),
        }
    }

    /// The name of the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            SettingName::Username => "username",
            SettingName::Color => "color",
            SettingName::Bell => "bell",
            SettingName::Typing => "typing",
            SettingName::HistoryDirect => "history-direct",
        }
    }

    /// The setting with this value.
    ///
    /// # Errors
    /// The value is none of this setting. The error is a sentence for the user.
    pub fn with_value(self, value: &str) -> Result<Setting, String> {
        let text = OsStr::new(value);
        match self {
            SettingName::Username => values::parse_nick(text).map(Setting::Username),
            SettingName::Color => values::parse_color(text).map(Setting::Color),
            SettingName::Bell => self.parse_switch(value).map(Setting::Bell),
            SettingName::Typing => self.parse_switch(value).map(Setting::Typing),
            SettingName::HistoryDirect => self.parse_switch(value).map(Setting::HistoryDirect),
        }
    }

    fn parse_switch(self, value: &str) -> Result<bool, String> {
        match value.to_lowercase().as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("/set {} takes on or off", self.as_str())),
        }
    }
}

/// The settings of a run, and why they are not kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// When the transcript is coloured.
    pub color: Color,
    /// Whether the bell rings.
    pub has_bell: bool,
    /// Whether others are told that the user types.
    pub tells_typing: bool,
    /// Whether the options file is left alone.
    pub is_ephemeral: bool,
    /// The options on the command line that come before the options file.
    typed: Vec<OptionId>,
    /// Environment variables that come before the options file.
    variables: Vec<(OptionId, &'static str)>,
}

/// Environment variables that come before an option in the options file.
const VARIABLES: [(OptionId, &str); 3] = [
    (OptionId::Username, "P2PCHAT_USERNAME"),
    (OptionId::Dir, "P2PCHAT_DIR"),
    (OptionId::Color, "NO_COLOR"),
];

impl Settings {
    /// The settings that the options choose.
    pub fn new(options: &Options, env: EnvLookup<'_>) -> Settings {
        let is_set = |(_, name): &(_, &str)| non_empty_variable(env, name).is_some();
        Settings {
            color: options.color,
            has_bell: options.has_bell,
            tells_typing: options.tells_typing,
            is_ephemeral: options.is_ephemeral(),
            typed: options.typed_settings.clone(),
            variables: VARIABLES.into_iter().filter(is_set).collect(),
        }
    }

    /// Why the options file is not to keep a setting. `None`: it is.
    pub fn unkept_reason(&self, setting: &Setting) -> Option<String> {
        if self.is_ephemeral {
            return Some("--ephemeral keeps nothing".to_owned());
        }
        if let Some(source) = self.source(setting.option().0) {
            return Some(format!("{source} comes before the options file"));
        }
        let directory = self.source(OptionId::Dir)?;
        matches!(setting, Setting::Username(_)).then(|| {
            format!("all directories share the options file, and {directory} chose this one")
        })
    }

    /// What comes before an option in the options file.
    fn source(&self, id: OptionId) -> Option<String> {
        if self.typed.contains(&id) {
            return Some(id.long().to_owned());
        }
        let variable = self.variables.iter().find(|(other, _)| *other == id);
        variable.map(|(_, name)| format!("${name}"))
    }
}

/// The text of an options file with this line for an option. All other lines stay as they are.
/// `line`: `None` removes the option.
///
/// # Errors
/// A line of the file is bad, or has the option and others.
pub fn replace_option(
    file: &OptionsFile,
    id: OptionId,
    line: Option<&str>,
) -> Result<String, Failure> {
    let options = parse_options_file(file)?;
    let found = options.iter().find(|option| option.id == id);
    let number = found.and_then(|option| option.line);
    let in_line = options.iter().filter(|option| option.line == number);
    if let Some(number) = number.filter(|_| in_line.count() > 1) {
        let sentence = format!("{} is not alone: give it a line of its own", id.long());
        return Err(file.failure(number, &Failure::usage(sentence)));
    }
    let mut text = String::new();
    for (i, old) in file.text.split_inclusive('\n').enumerate() {
        match (number == Some(i + 1), line) {
            (true, Some(line)) => text += &format!("{line}\n"),
            (true, None) => {}
            (false, _) => text += old,
        }
    }
    if let (None, Some(line)) = (number, line) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text += &format!("{line}\n");
    }
    Ok(text)
}

impl Setting {
    /// The name of the setting.
    pub fn name(&self) -> SettingName {
        match self {
            Setting::Username(_) => SettingName::Username,
            Setting::Color(_) => SettingName::Color,
            Setting::Bell(_) => SettingName::Bell,
            Setting::Typing(_) => SettingName::Typing,
            Setting::HistoryDirect(_) => SettingName::HistoryDirect,
        }
    }

    /// The value, as /set takes it.
    pub fn value(&self) -> String {
        let switch = |is_on: &bool| if *is_on { "on" } else { "off" };
        match self {
            Setting::Username(nick) => nick.to_string(),
            Setting::Color(color) => color.as_str().to_owned(),
            Setting::Bell(is_on) | Setting::Typing(is_on) | Setting::HistoryDirect(is_on) => {
                switch(is_on).to_owned()
            }
        }
    }

    /// The option that keeps the setting, and its line in the options file. `None`: the setting is
    /// the one without the option.
    pub fn option(&self) -> (OptionId, Option<String>) {
        match self {
            Setting::Username(nick) => {
                // A sign at the beginning could belong to the file's syntax.
                let line = match nick.as_str().starts_with(char::is_alphanumeric) {
                    true => format!("--username {nick}"),
                    false => format!("--username \"{nick}\""),
                };
                (OptionId::Username, Some(line))
            }
            Setting::Color(color) => {
                let line = format!("--color {}", color.as_str());
                (OptionId::Color, Some(line))
            }
            Setting::Bell(is_on) => (OptionId::NoBell, (!is_on).then(|| "--no-bell".to_owned())),
            Setting::Typing(is_on) => (
                OptionId::NoTyping,
                (!is_on).then(|| "--no-typing".to_owned()),
            ),
            Setting::HistoryDirect(is_on) => (
                OptionId::HistoryDirect,
                is_on.then(|| "--history-direct".to_owned()),
            ),
        }
    }
}

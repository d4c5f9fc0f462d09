//! Words that all completions use.
use p2pchat::shell::config::option_specs::OPTION_SPECS;
use p2pchat::shell::config::subcommand::{COMMAND_SPECS, CommandSpec, Subcommand};

/// The commands that are typed: all but chat.
pub fn typed_commands() -> impl Iterator<Item = &'static CommandSpec> {
    let commands = COMMAND_SPECS.iter();
    commands.filter(|command| command.subcommand != Subcommand::Chat)
}

/// Their names.
pub fn command_names() -> Vec<&'static str> {
    typed_commands()
        .map(|command| command.subcommand.as_str())
        .collect()
}

/// Both spellings of each option with a value: the word behind it is no command.
pub fn valued_spellings() -> Vec<String> {
    let valued = OPTION_SPECS.iter().filter(|spec| spec.value_name.is_some());
    let spellings = valued.flat_map(|spec| {
        let short = spec.short.map(|letter| format!("-{}", char::from(letter)));
        short.into_iter().chain([spec.long.to_owned()])
    });
    spellings.collect()
}

//! The texts that `-h` and `-V` print, made from the tables of commands, options and exit statuses.
use crate::shell::config::exit_status::EXIT_STATUS_SPECS;
use crate::shell::config::option_specs::{OPTION_SPECS, OptionId, OptionSpec};
use crate::shell::config::subcommand::{COMMAND_SPECS, CommandSpec, Subcommand};

/// The program's name and version, one line.
pub const VERSION_LINE: &str = concat!("p2pchat ", env!("CARGO_PKG_VERSION"), "\n");

/// Longest line of the help, in columns.
const WIDTH: usize = 80;
/// The column where the description of a command or an option begins.
const ABOUT_COLUMN: usize = 27;
/// The column where a line of a paragraph begins.
const PARAGRAPH_COLUMN: usize = 4;
/// Of how many commands the overview shows the first example.
const OVERVIEW_EXAMPLES: usize = 4;

/// The options that the overview describes. It only names the others, which the help of a command
/// describes: so each option of chat alone is here.
const OVERVIEW_OPTIONS: &[OptionId] = &[
    OptionId::Username,
    OptionId::Room,
    OptionId::To,
    OptionId::Peer,
    OptionId::SecretFile,
    OptionId::Dir,
    OptionId::Ephemeral,
    OptionId::Json,
    OptionId::Count,
    OptionId::Wait,
    OptionId::Backlog,
    OptionId::HistoryDirect,
    OptionId::NoTyping,
    OptionId::Commands,
    OptionId::Quiet,
    OptionId::Help,
];

/// The help on the whole program. It fits two screens of 80 columns and 24 lines.
pub fn overview() -> String {
    let mut text = String::new();
    for command in COMMAND_SPECS {
        push_row(&mut text, &command.usage(), command.about, ABOUT_COLUMN);
    }
    text += "\n";
    for id in OVERVIEW_OPTIONS
        .iter()
        .filter(|id| id.missing_feature().is_none())
    {
        push_row(
            &mut text,
            &id.spec().spelling(),
            id.spec().about,
            ABOUT_COLUMN,
        );
    }
    let others = built_options().filter(|spec| !OVERVIEW_OPTIONS.contains(&spec.id));
    let others: Vec<&str> = others.map(|spec| spec.long).collect();
    text += "More, described by p2pchat COMMAND --help:\n";
    push_row(&mut text, "", &others.join(" "), PARAGRAPH_COLUMN);
    let commands = COMMAND_SPECS.iter().take(OVERVIEW_EXAMPLES);
    push_examples(
        &mut text,
        commands.filter_map(|command| command.examples.first()),
    );
    push_statuses(&mut text);
    text
}

/// The help on one command.
pub fn command_help(command: &CommandSpec) -> String {
    let mut text = format!("{} [OPTIONS]\n    {}\n\n", command.usage(), command.about);
    for spec in built_options().filter(|spec| spec.subcommands.contains(&command.subcommand)) {
        let about = match spec.id {
            OptionId::Wait => command.wait,
            _ => spec.about,
        };
        push_row(&mut text, &spec.spelling(), about, ABOUT_COLUMN);
    }
    push_examples(&mut text, command.examples.iter());
    push_statuses(&mut text);
    text
}

/// The help on a command; on [`Subcommand::Chat`], which needs no word, the overview.
pub fn help(subcommand: Subcommand) -> String {
    let command = COMMAND_SPECS.iter().find(|it| it.subcommand == subcommand);
    match command.filter(|_| subcommand != Subcommand::Chat) {
        Some(command) => command_help(command),
        None => overview(),
    }
}

/// The options of the parts that are in this build.
fn built_options() -> impl Iterator<Item = &'static OptionSpec> {
    let options = OPTION_SPECS.iter();
    options.filter(|spec| spec.id.missing_feature().is_none())
}

fn push_examples<'a>(text: &mut String, examples: impl Iterator<Item = &'a &'a str>) {
    *text += "\n";
    for example in examples {
        *text += "    ";
        *text += example;
        *text += "\n";
    }
}

fn push_statuses(text: &mut String) {
    let statuses = EXIT_STATUS_SPECS.iter();
    let statuses: Vec<String> = statuses
        .map(|(status, about)| format!("{}\u{a0}{about}", status.code()))
        .collect();
    *text += "\nExit status:\n";
    push_row(text, "", &statuses.join("; "), PARAGRAPH_COLUMN);
}

/// Appends `head`, and `about` from `indent` on, broken at spaces. A no-break space is printed as a
/// space.
fn push_row(text: &mut String, head: &str, about: &str, indent: usize) {
    *text += head;
    let mut column = head.chars().count();
    if column > 0 {
        column += 2;
        *text += "  ";
    }
    let mut gap = indent.saturating_sub(column);
    for word in about.split(' ') {
        let width = word.chars().count();
        if column + gap + width > WIDTH {
            *text += "\n";
            column = 0;
            gap = indent;
        }
        text.extend(std::iter::repeat_n(' ', gap));
        *text += &word.replace('\u{a0}', " ");
        column += gap + width;
        gap = 1;
    }
    *text += "\n";
}

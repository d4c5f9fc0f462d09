//! The completion of zsh.
use p2pchat::shell::config::option_specs::{OPTION_SPECS, OptionId, OptionSpec};
use p2pchat::shell::config::subcommand::{COMMAND_SPECS, Subcommand};

use crate::words::{command_names, valued_spellings};

/// The script.
pub fn completion() -> String {
    let mut commands = Vec::new();
    let mut options = String::new();
    for command in COMMAND_SPECS {
        let name = command.subcommand.as_str();
        if command.subcommand != Subcommand::Chat {
            commands.push(format!("{name}:{}", escape(command.about)));
        }
        options += &format!("    {name})\n        options+=(\n");
        let of_command = OPTION_SPECS.iter();
        for spec in of_command.filter(|spec| spec.subcommands.contains(&command.subcommand)) {
            options += &format!("            {}\n", option(spec));
        }
        options += "        )\n        ;;\n";
    }
    let rows: Vec<String> = commands
        .iter()
        .map(|row| format!("        '{row}'"))
        .collect();
    format!(
        r#"#compdef p2pchat
# Completion of p2pchat for zsh.
local command=chat
local -a options commands
local -i i
for ((i = 2; i < CURRENT; i++)); do
    case ${{words[i]}} in
    ({valued}) ((i++)) ;;
    ({names}) command=${{words[i]}} && break ;;
    esac
done
case $command in
{options}esac
case $command in
chat)
    commands=(
{rows}
    )
    _arguments -s -S $options '1:command:{{_describe command commands}}'
    ;;
trust) _arguments -s -S $options '1:command:' '2:action:(list add forget verify ban unban ignore unignore)' '*:name:' ;;
*) _arguments -s -S $options '1:command:' '*:text:' ;;
esac
"#,
        valued = valued_spellings().join("|"),
        names = command_names().join("|"),
        rows = rows.join("\n"),
    )
}

/// An option as a word of `_arguments`.
fn option(spec: &OptionSpec) -> String {
    let about = escape(spec.about).replace('[', "\\[").replace(']', "\\]");
    let value = match (spec.id, spec.value_name) {
        (_, None) => String::new(),
        (_, Some("FILE")) => ":file:_files".to_owned(),
        (_, Some("DIR")) => ":directory:_files -/".to_owned(),
        (OptionId::Color, _) => ":when:(auto always never)".to_owned(),
        (OptionId::Seek, _) => ":where:(end start)".to_owned(),
        (OptionId::Interface, _) => ":interface:_net_interfaces".to_owned(),
        (_, Some(name)) => format!(":{}:", escape(name)),
    };
    let star = if spec.id.is_repeatable() { "*" } else { "" };
    match spec.short.map(char::from) {
        Some(letter) if star.is_empty() => format!(
            "'(-{letter} {long})'{{-{letter},{long}}}'[{about}]{value}'",
            long = spec.long
        ),
        Some(letter) => format!("'{star}'{{-{letter},{}}}'[{about}]{value}'", spec.long),
        None => format!("'{star}{}[{about}]{value}'", spec.long),
    }
}

/// Escapes text for a word of `_arguments` within single quotes.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace(':', "\\:")
        .replace('\'', "'\\''")
}

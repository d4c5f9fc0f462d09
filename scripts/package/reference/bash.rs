//! The completion of bash.
use p2pchat::shell::config::option_specs::{OPTION_SPECS, OptionId, OptionSpec};
use p2pchat::shell::config::subcommand::COMMAND_SPECS;

use crate::words::{command_names, valued_spellings};

/// The script.
pub fn completion() -> String {
    let names = command_names();
    let valued = OPTION_SPECS.iter().filter(|spec| spec.value_name.is_some());
    let (mut values, mut others) = (String::new(), Vec::new());
    for spec in valued {
        match value_words(spec) {
            Some(words) => values += &format!("        {}) {words} ;;\n", pattern(spec)),
            None => others.push(pattern(spec)),
        }
    }
    let mut options = String::new();
    for command in COMMAND_SPECS {
        let of_command = OPTION_SPECS.iter();
        let of_command = of_command.filter(|spec| spec.subcommands.contains(&command.subcommand));
        let longs: Vec<&str> = of_command.map(|spec| spec.long).collect();
        let name = command.subcommand.as_str();
        options += &format!("        {name}) words='{}' ;;\n", longs.join(" "));
    }
    format!(
        r#"# Completion of p2pchat for bash.
_p2pchat() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}}
    local command=chat words= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
        {valued}) ((i++)) ;;
        {names}) command=${{COMP_WORDS[i]}} && break ;;
        esac
    done
    COMPREPLY=()
    case $previous in
{values}        {others}) return ;;
        *)
            case $command in
    {options}            esac
            [[ $command = chat ]] && words+=' {name_words}'
            [[ $command = trust ]] && words+=' list add forget verify ban unban ignore unignore'
            COMPREPLY=($(compgen -W "$words" -- "$current"))
            ;;
    esac
}}
complete -F _p2pchat p2pchat
"#,
        valued = valued_spellings().join(" | "),
        names = names.join(" | "),
        name_words = names.join(" "),
        others = others.join(" | "),
        options = options
            .replace("        ", "            ")
            .trim_start_matches("    "),
    )
}

/// The spellings of an option, as a pattern of `case`.
fn pattern(spec: &OptionSpec) -> String {
    match spec.short {
        Some(letter) => format!("-{} | {}", char::from(letter), spec.long),
        None => spec.long.to_owned(),
    }
}

/// The command that completes the option's value. `None`: nothing is known of it.
fn value_words(spec: &OptionSpec) -> Option<String> {
    let generate = |what: &str| format!("COMPREPLY=($(compgen {what} -- \"$current\"))");
    Some(match (spec.id, spec.value_name?) {
        (_, "FILE") => format!("compopt -o filenames; {}", generate("-f")),
        (_, "DIR") => format!("compopt -o filenames; {}", generate("-d")),
        (OptionId::Color, _) => generate("-W 'auto always never'"),
        (OptionId::Seek, _) => generate("-W 'end start'"),
        (OptionId::Interface, _) => generate("-W \"$(ls /sys/class/net)\""),
        _ => return None,
    })
}

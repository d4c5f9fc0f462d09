//! The completion of fish.
use p2pchat::shell::config::option_specs::{OPTION_SPECS, OptionId, OptionSpec};

use crate::words::{command_names, typed_commands, valued_spellings};

/// The script.
pub fn completion() -> String {
    let mut script = format!(
        r#"# Completion of p2pchat for fish.
function __p2pchat_runs --description 'whether the command is one of these'
    set -l is_value
    for word in (commandline -opc)[2..]
        if set -q is_value[1]
            set is_value
        else if contains -- $word {}
            set is_value yes
        else if contains -- $word {}
            contains -- $word $argv
            return
        end
    end
    contains chat $argv
end
complete -c p2pchat -f
"#,
        valued_spellings().join(" "),
        command_names().join(" ")
    );
    for command in typed_commands() {
        let (name, about) = (command.subcommand.as_str(), quote(command.about));
        script += &format!("complete -c p2pchat -n '__p2pchat_runs chat' -a {name} -d {about}\n");
    }
    script += "complete -c p2pchat -n '__p2pchat_runs trust' -a 'list add forget verify ban unban ignore unignore'\n";
    for spec in OPTION_SPECS {
        script += &option(spec);
    }
    script
}

fn option(spec: &OptionSpec) -> String {
    let commands: Vec<&str> = spec.subcommands.iter().map(|it| it.as_str()).collect();
    let mut line = format!(
        "complete -c p2pchat -n '__p2pchat_runs {}'",
        commands.join(" ")
    );
    if let Some(letter) = spec.short {
        line += &format!(" -s {}", char::from(letter));
    }
    line += &format!(" -l {}", spec.long.trim_start_matches('-'));
    line += match (spec.id, spec.value_name) {
        (_, None) => "",
        (_, Some("FILE")) => " -r -F",
        (_, Some("DIR")) => " -x -a '(__fish_complete_directories)'",
        (OptionId::Color, _) => " -x -a 'auto always never'",
        (OptionId::Seek, _) => " -x -a 'end start'",
        (OptionId::Interface, _) => " -x -a '(ls /sys/class/net)'",
        _ => " -x",
    };
    format!("{line} -d {}\n", quote(spec.about))
}

/// A word within single quotes.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

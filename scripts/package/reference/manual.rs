//! The manual page p2pchat(1).
use p2pchat::shell::config::exit_status::EXIT_STATUS_SPECS;
use p2pchat::shell::config::option_specs::OPTION_SPECS;
use p2pchat::shell::config::subcommand::COMMAND_SPECS;

use crate::roff::{escape, example, heading};

/// What stands before the tables.
const DESCRIPTION: &str = r#".SH DESCRIPTION
Programs find each other on a LAN, connect over encrypted TCP, and exchange signed lines.
There is no server, no account, and nothing to set up.
At a terminal, what you type is said. On pipes each line of standard input is said, and the
transcript is on standard output.
.PP
Options stand before or after the command, and end at \fB\-\-\fR or at the first word of TEXT.
They may also stand one a line in the options file.
"#;

/// What stands after the tables.
const ENVIRONMENT: &str = r#".SH ENVIRONMENT
.TP
.BR P2PCHAT_USERNAME ", " USER ", " LOGNAME
The name of the user, without \fB\-\-username\fR. The first that is set counts.
.TP
.B P2PCHAT_DIR
The state directory, without \fB\-\-dir\fR.
.TP
.B P2PCHAT_SECRET_FILE
The file with the network secret, without \fB\-\-secret\-file\fR.
.TP
.B NO_COLOR
If it is set, the transcript is not coloured, without \fB\-\-color\fR.
.SH FILES
.TP
.I ~/.config/p2pchat/options
Options, one a line; \fB#\fR begins a comment. SIGHUP reads it again.
.TP
.I ~/.local/state/p2pchat
The state directory: identity, known peers, and lines.
.TP
.I ~/.local/state/p2pchat/control.sock
The socket through which other programs of the user act through a running program:
.BR p2pchat (7).
.SH SEE ALSO
.BR p2pchat (7)
"#;

/// The page.
pub fn page() -> String {
    let mut page = heading(1);
    page += ".SH NAME\np2pchat \\- serverless chat for terminals and shell scripts\n.SH SYNOPSIS\n.nf\n";
    for command in COMMAND_SPECS {
        let usage = command.usage();
        let arguments = usage.strip_prefix("p2pchat").unwrap_or_default();
        page += &format!("\\fBp2pchat\\fR{} [\\fIOPTIONS\\fR]\n", escape(arguments));
    }
    page += ".fi\n";
    page += DESCRIPTION;
    page += ".SH COMMANDS\n";
    for command in COMMAND_SPECS {
        let usage = escape(&command.usage());
        page += &format!(".TP\n.B {usage}\n{}\n", escape(command.about));
        page += &example(command.examples);
    }
    page += ".SH OPTIONS\n";
    for spec in OPTION_SPECS {
        let commands: Vec<&str> = spec
            .subcommands
            .iter()
            .map(|it| it.display_name())
            .collect();
        page += &format!(
            ".TP\n.B {}\n{}\n",
            escape(spec.spelling().trim_start()),
            escape(spec.about)
        );
        if !spec.hint.is_empty() {
            page += &format!(".br\n{}\n", escape(spec.hint));
        }
        page += &format!(".br\nGoes with: {}.\n", escape(&commands.join(", ")));
    }
    page += ".SH EXIT STATUS\n";
    for (status, about) in EXIT_STATUS_SPECS {
        page += &format!(".TP\n.B {}\n{}\n", status.code(), escape(about));
    }
    page += ENVIRONMENT;
    page
}

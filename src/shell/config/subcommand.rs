//! The commands of the program: `p2pchat send`, `p2pchat listen` and so on.

/// The command that a run executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subcommand {
    /// Chat. Runs if no command is given.
    Chat,
    /// Send TEXT or the lines of stdin, and wait for delivery.
    Send,
    /// Print the transcript.
    Listen,
    /// List the reachable peers.
    Peers,
    /// Exchange all lines with those who are here.
    Sync,
    /// Print the stored lines.
    History,
    /// Print our name, id, fingerprint and connection code.
    Whoami,
    /// List or change the known peers.
    Trust,
    /// Find out why nobody is here.
    Doctor,
    /// Print a new network secret.
    Keygen,
    /// Hand the network secret to a newcomer.
    Invite,
    /// Get the network secret with the code of an invite.
    Join,
    /// Print the usage: `-h`.
    Help,
    /// Print the version: `-V`.
    Version,
}

impl Subcommand {
    /// The command as one word. The user types this word, except for [`Subcommand::Chat`],
    /// [`Subcommand::Help`] and [`Subcommand::Version`].
    pub fn as_str(self) -> &'static str {
        match self {
            Subcommand::Chat => "chat",
            Subcommand::Send => "send",
            Subcommand::Listen => "listen",
            Subcommand::Peers => "peers",
            Subcommand::Sync => "sync",
            Subcommand::History => "history",
            Subcommand::Whoami => "whoami",
            Subcommand::Trust => "trust",
            Subcommand::Doctor => "doctor",
            Subcommand::Keygen => "keygen",
            Subcommand::Invite => "invite",
            Subcommand::Join => "join",
            Subcommand::Help => "help",
            Subcommand::Version => "version",
        }
    }

    /// The command's name in messages.
    pub fn display_name(self) -> &'static str {
        match self {
            Subcommand::Chat => "p2pchat without a command",
            other => other.as_str(),
        }
    }
}

/// A command in the help, the man page and the completions.
pub struct CommandSpec {
    /// Which command this is.
    pub subcommand: Subcommand,
    /// The words that follow its name, as `[TEXT…]`; empty if there are none.
    pub arguments: &'static str,
    /// What the command does, in one line of the help.
    pub about: &'static str,
    /// What `--wait` limits in this command; empty if the command takes no such option.
    pub wait: &'static str,
    /// Whole command lines for a shell.
    pub examples: &'static [&'static str],
}

/// All commands except the usage and the version, in the order of the help.
#[rustfmt::skip]
pub const COMMAND_SPECS: &[CommandSpec] = &[
    CommandSpec { subcommand: Subcommand::Chat, arguments: "",
        about: "chat; on pipes: say stdin, print the transcript",
        wait: "on pipes: how long to wait for delivery (10)",
        examples: &["p2pchat -r ops", "p2pchat -u bob --ephemeral"] },
    CommandSpec { subcommand: Subcommand::Send, arguments: "[TEXT…]",
        about: "say TEXT, or stdin, and wait until it has arrived",
        wait: "how long to wait for delivery (10)",
        examples: &["p2pchat send -r ops the backup is done && echo somebody has it",
            "tail -F /var/log/messages | p2pchat send -r ops",
            "p2pchat send -t @alice the key is under the mat"] },
    CommandSpec { subcommand: Subcommand::Listen, arguments: "",
        about: "print the transcript; stdin is not read",
        wait: "how long to listen; with --drain: to exchange (10)",
        examples: &["p2pchat -q listen -r ops -n 1 --from alice",
            "p2pchat listen --as backup --drain --json"] },
    CommandSpec { subcommand: Subcommand::Peers, arguments: "",
        about: "print who is here",
        wait: "how long to look (2)",
        examples: &["p2pchat peers --expect hosts.txt"] },
    CommandSpec { subcommand: Subcommand::Sync, arguments: "",
        about: "exchange all lines with those who are here",
        wait: "how long to exchange lines (10)",
        examples: &["p2pchat sync && poweroff"] },
    CommandSpec { subcommand: Subcommand::History, arguments: "",
        about: "print the stored lines",
        wait: "",
        examples: &["p2pchat history -r ops --since 2h"] },
    CommandSpec { subcommand: Subcommand::Whoami, arguments: "",
        about: "print own name, id, fingerprint and code",
        wait: "",
        examples: &["p2pchat whoami --qr"] },
    CommandSpec { subcommand: Subcommand::Trust, arguments: "[ACTION…]",
        about: "who has which key; add, forget, verify, ban, ignore",
        wait: "",
        examples: &["p2pchat trust", "p2pchat trust forget alice"] },
    CommandSpec { subcommand: Subcommand::Doctor, arguments: "[HOST]",
        about: "why do I see nobody: what is wrong, what mends it",
        wait: "how long to listen for others (11)",
        examples: &["p2pchat doctor", "p2pchat doctor 10.0.0.7", "p2pchat doctor | grep ^finding"] },
    CommandSpec { subcommand: Subcommand::Keygen, arguments: "",
        about: "print a new network secret",
        wait: "",
        examples: &["(umask 077; p2pchat keygen > lan.key)"] },
    CommandSpec { subcommand: Subcommand::Invite, arguments: "",
        about: "hand the network secret to a newcomer",
        wait: "how long the code is good (600)",
        examples: &["p2pchat invite --secret-file lan.key"] },
    CommandSpec { subcommand: Subcommand::Join, arguments: "CODE",
        about: "get the network secret with a code",
        wait: "how long to look for the inviter (30)",
        examples: &["p2pchat join 7-lusab-babad --secret-file lan.key"] },
];

impl CommandSpec {
    /// The command line without its options, as `p2pchat send [TEXT…]`.
    pub fn usage(&self) -> String {
        let mut usage = "p2pchat".to_owned();
        let name = match self.subcommand {
            Subcommand::Chat => "",
            subcommand => subcommand.as_str(),
        };
        for word in [name, self.arguments] {
            if !word.is_empty() {
                usage += " ";
                usage += word;
            }
        }
        usage
    }
}

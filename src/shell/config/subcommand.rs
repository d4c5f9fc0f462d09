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

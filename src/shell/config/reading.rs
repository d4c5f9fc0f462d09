//! The options that say which stored lines `listen` prints, and how long it goes on.
use crate::base::name::Nick;
use crate::shell::config::failure::Failure;
use crate::shell::config::option_sources::OptionSources;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::values;
use crate::shell::config::values::Seek;

/// What `listen` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The name of the reader. `None`: the directory's own.
    pub reader: Option<Nick>,
    /// Where the reader goes first.
    pub seek: Option<Seek>,
    /// Whether the run ends when all lines are exchanged with those who are here, and printed.
    pub drains: bool,
}

impl Reading {
    /// Reads the options.
    ///
    /// # Errors
    /// Exit status 2: a value is bad, or the options contradict each other.
    pub(super) fn choose(sources: &OptionSources) -> Result<Reading, Failure> {
        let reading = Reading {
            reader: sources.last_value(OptionId::As, values::parse_nick)?,
            seek: sources.last_value(OptionId::Seek, values::parse_seek)?,
            drains: sources.has_flag(OptionId::Drain),
        };
        if reading.reader.is_some() && sources.has_flag(OptionId::Ephemeral) {
            return Err(Failure::usage(
                "--as needs a directory, which remembers what its reader has printed: leave out \
                 --ephemeral",
            ));
        }
        let counts = sources.last_value(OptionId::Count, values::parse_count)?;
        let prints_stored = reading.drains || reading.seek == Some(Seek::Start);
        match counts.is_some() && prints_stored {
            true => Err(Failure::usage(
                "--count prints only lines said while it runs: leave out --drain and --seek start, \
                 or --count",
            )),
            false => Ok(reading),
        }
    }
}

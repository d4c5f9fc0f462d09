//! The unparsed options of a run, by source: the command line, and the options file.
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pico_args::Arguments;

use crate::shell::config::arguments::ParsedOption;
use crate::shell::config::environment::{EnvLookup, absolute_path_variable, non_empty_variable};
use crate::shell::config::failure::Failure;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::options_file::OptionsFile;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::config::values;

/// The unparsed options of a run, separated by source.
pub struct OptionSources {
    pub(super) subcommand: Subcommand,
    pub(super) command_line: Vec<ParsedOption>,
    pub(super) file: Vec<ParsedOption>,
    /// The options file, from which `file` is parsed.
    pub(super) options_file: Option<OptionsFile>,
}

/// Parses a value. The error is a sentence about the value.
pub(super) type ValueParser<T> = fn(&OsStr) -> Result<T, String>;

impl OptionSources {
    /// Checks that this build has the parts of all options.
    ///
    /// # Errors
    /// Exit status 2: an option is of a part that is not built.
    pub(super) fn check_features(&self) -> Result<(), Failure> {
        for option in self.command_line.iter().chain(&self.file) {
            if let Some(feature) = option.id.missing_feature() {
                let sentence = format!(
                    "not part of this build: leave it out, or build with `--features {feature}`"
                );
                return Err(self.value_failure(option, &sentence));
            }
        }
        Ok(())
    }

    /// Replaces `~/` by `$HOME/` at the beginning of paths in the options file. On the command
    /// line, the shell does so.
    ///
    /// # Errors
    /// Exit status 2: a path begins with `~/`, and `$HOME` is missing.
    pub(super) fn expand_home(&mut self, env: EnvLookup<'_>) -> Result<(), Failure> {
        let home = absolute_path_variable(env, "HOME");
        for i in 0..self.file.len() {
            let option = &self.file[i];
            let is_path = matches!(
                option.id,
                OptionId::Dir | OptionId::SecretFile | OptionId::Expect
            );
            let value = option.value.as_deref().map(OsStr::as_bytes);
            let Some(rest) = value
                .filter(|_| is_path)
                .and_then(|v| v.strip_prefix(b"~/"))
            else {
                continue;
            };
            let Some(home) = &home else {
                let sentence = "~/ stands for $HOME, which is not set: write the whole path";
                return Err(self.value_failure(option, sentence));
            };
            self.file[i].value = Some(home.join(OsStr::from_bytes(rest)).into());
        }
        Ok(())
    }

    /// Parses the option's values among these options with `parse`, which stores them. Not generic,
    /// so that it is compiled only once.
    fn parse_each(
        &self,
        options: &[ParsedOption],
        id: OptionId,
        parse: &mut dyn FnMut(&OsStr) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let of_id = options.iter().filter(|option| option.id == id);
        let of_id: Vec<&ParsedOption> = of_id.collect();
        for (option, value) in of_id.iter().zip(raw_values(&of_id, id)?) {
            parse(&value).map_err(|sentence| self.value_failure(option, &sentence))?;
        }
        Ok(())
    }

    /// Creates the failure for a bad value. Its message is the option's name, then the sentence
    /// about the value. Not generic, so that it is compiled only once.
    pub(super) fn value_failure(&self, option: &ParsedOption, sentence: &str) -> Failure {
        let failure = Failure::usage(format!("{}: {sentence}", option.id.long()));
        match (&self.options_file, option.line) {
            (Some(file), Some(line)) => file.failure(line, &failure),
            _ => failure,
        }
    }

    /// Parses the values of an option. Returns the values on the command line, and then the values
    /// in the options file.
    ///
    /// The file serves all commands. If this run's command does not accept the option, the file's
    /// values are checked but not returned.
    pub(super) fn values_by_source<T>(
        &self,
        id: OptionId,
        parse: ValueParser<T>,
    ) -> Result<(Vec<T>, Vec<T>), Failure> {
        let (mut line, mut file) = (Vec::new(), Vec::new());
        self.parse_each(&self.command_line, id, &mut |value| {
            line.push(parse(value)?);
            Ok(())
        })?;
        self.parse_each(&self.file, id, &mut |value| {
            file.push(parse(value)?);
            Ok(())
        })?;
        if !self.is_applicable(id) {
            file.clear();
        }
        Ok((line, file))
    }

    pub(super) fn is_applicable(&self, id: OptionId) -> bool {
        id.spec().subcommands.contains(&self.subcommand)
    }

    pub(super) fn all_values<T>(
        &self,
        id: OptionId,
        parse: ValueParser<T>,
    ) -> Result<Vec<T>, Failure> {
        let (line, file) = self.values_by_source(id, parse)?;
        Ok(if line.is_empty() { file } else { line })
    }

    /// The last value of the option on the command line. If the command line has none, the last
    /// value in the options file.
    pub(super) fn last_value<T>(
        &self,
        id: OptionId,
        parse: ValueParser<T>,
    ) -> Result<Option<T>, Failure> {
        Ok(self.all_values(id, parse)?.pop())
    }

    pub(super) fn path_value(
        &self,
        id: OptionId,
        env: EnvLookup<'_>,
        name: &str,
    ) -> Result<Option<PathBuf>, Failure> {
        let (mut line, mut file) = self.values_by_source(id, values::parse_path)?;
        Ok(line
            .pop()
            .or_else(|| non_empty_variable(env, name).map(PathBuf::from))
            .or(file.pop()))
    }

    /// The failure for --dir and --ephemeral in one source.
    pub(super) fn directory_conflict(&self) -> Failure {
        let failure = Failure::usage(
            "--dir keeps everything in a directory, --ephemeral keeps nothing: give one of them",
        );
        let is_either = |id| matches!(id, OptionId::Dir | OptionId::Ephemeral);
        let is_in_file = !is_given(&self.command_line, OptionId::Ephemeral);
        let last = self.file.iter().rfind(|option| is_either(option.id));
        match (&self.options_file, last.and_then(|option| option.line)) {
            (Some(file), Some(line)) if is_in_file => file.failure(line, &failure),
            _ => failure,
        }
    }

    pub(super) fn has_flag(&self, id: OptionId) -> bool {
        is_given(&self.command_line, id) || (is_given(&self.file, id) && self.is_applicable(id))
    }
}

/// Extracts the unparsed values of these options, all with the id `id`, with pico-args. pico-args
/// does not treat `--` as the end of options, so
/// [`arguments`](crate::shell::config::arguments) splits the command line first. Not generic, so
/// that it is compiled only once.
fn raw_values(options: &[&ParsedOption], id: OptionId) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    for option in options {
        words.push(OsString::from(id.long()));
        words.extend(option.value.clone());
    }
    let unparsed = |value: &OsStr| Ok::<_, Infallible>(value.to_owned());
    Arguments::from_vec(words)
        .values_from_os_str(id.long(), unparsed)
        .map_err(|error| Failure::usage(error.to_string()))
}

pub(super) fn is_given(options: &[ParsedOption], id: OptionId) -> bool {
    options.iter().any(|option| option.id == id)
}

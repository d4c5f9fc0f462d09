//! The options file: where it is, and failures that name a line of it.
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use crate::shell::config::environment::{EnvLookup, absolute_path_variable};
use crate::shell::config::failure::Failure;

/// Longest accepted options file, in bytes.
pub const OPTIONS_FILE_MAX_BYTES: u64 = 64 * 1024;

/// The options file of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsFile {
    /// Where the file is.
    pub path: PathBuf,
    /// The whole content.
    pub text: String,
}

impl OptionsFile {
    /// Where the options file is, or would be. `None`: neither `$XDG_CONFIG_HOME` nor `$HOME` is an
    /// absolute path.
    pub fn path(env: EnvLookup<'_>) -> Option<PathBuf> {
        let config = absolute_path_variable(env, "XDG_CONFIG_HOME")
            .or_else(|| absolute_path_variable(env, "HOME").map(|home| home.join(".config")))?;
        Some(config.join("p2pchat/options"))
    }

    /// Reads `$XDG_CONFIG_HOME/p2pchat/options`. Without that variable, reads
    /// `~/.config/p2pchat/options`. `None`: the file is missing.
    ///
    /// # Errors
    /// Exit status 78: the file cannot be read, is not UTF-8, or is longer than 64 KiB.
    pub fn read(env: EnvLookup<'_>) -> Result<Option<OptionsFile>, Failure> {
        let Some(path) = OptionsFile::path(env) else {
            return Ok(None);
        };
        let unusable =
            |why: &str| Failure::config(format!("options file {}: {why}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(unusable(&error.to_string())),
        };
        let mut text = String::new();
        file.take(OPTIONS_FILE_MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| unusable(&error.to_string()))?;
        if text.len() as u64 > OPTIONS_FILE_MAX_BYTES {
            return Err(unusable("longer than 64 KiB"));
        }
        Ok(Some(OptionsFile { path, text }))
    }

    /// Returns `failure` with the file's path and the line's number before its message.
    pub fn failure(&self, line: usize, failure: &Failure) -> Failure {
        let path = self.path.display();
        Failure::new(
            failure.exit_status,
            format!("options file {path}, line {line}: {}", failure.message),
        )
    }
}

//! Environment variables.
use std::ffi::OsString;
use std::path::PathBuf;

/// Looks up an environment variable by name.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The value of an environment variable. An empty value counts as missing.
pub fn non_empty_variable(env: EnvLookup<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// A path from an environment variable. A relative path counts as missing (XDG Base Directory
/// Specification).
pub fn absolute_path_variable(env: EnvLookup<'_>, name: &str) -> Option<PathBuf> {
    non_empty_variable(env, name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

//! Keeps settings in the options file, which is rewritten whole and atomically.
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use crate::shell::config::environment::EnvLookup;
use crate::shell::config::options_file::{OPTIONS_FILE_MAX_BYTES, OptionsFile};
use crate::shell::config::settings::{Setting, replace_option};
use crate::shell::os::file::{create_private_dir, if_exists, replace_file};

/// Keeps a setting: replaces its line of the options file, or appends one. All other lines stay.
/// Returns the file's path.
///
/// # Errors
/// The file is bad, or cannot be written. The error is a sentence for the user.
pub fn keep_setting(setting: &Setting, env: EnvLookup<'_>) -> Result<PathBuf, String> {
    let Some(path) = OptionsFile::path(env) else {
        return Err("there is no home directory for the options file".to_owned());
    };
    let file = OptionsFile::read(env).map_err(|failure| failure.message)?;
    let file = file.unwrap_or(OptionsFile {
        path: path.clone(),
        text: String::new(),
    });
    let (option, line) = setting.option();
    let text = replace_option(&file, option, line.as_deref());
    let text = text.map_err(|failure| failure.message)?;
    if text.len() as u64 > OPTIONS_FILE_MAX_BYTES {
        return Err(format!(
            "options file {}: longer than 64 KiB",
            path.display()
        ));
    }
    if text != file.text {
        write(&file, &text).map_err(|error| format!("options file {}: {error}", path.display()))?;
    }
    Ok(path)
}

fn write(file: &OptionsFile, text: &str) -> io::Result<()> {
    // The file may be a link into a directory of such files. A link that leads nowhere is an error.
    let is_there = if_exists(fs::symlink_metadata(&file.path))?.is_some();
    let existing = is_there.then(|| fs::canonicalize(&file.path));
    let existing = existing.transpose()?;
    let metadata = existing.as_deref().map(fs::metadata).transpose()?;
    if metadata.as_ref().is_some_and(|it| !it.is_file()) {
        return Err(io::Error::other("is no regular file"));
    }
    let permissions = metadata.map(|metadata| metadata.permissions());
    let path = existing.as_ref().unwrap_or(&file.path);
    if existing.is_none()
        && let Some(directory) = path.parent()
    {
        create_private_dir(directory)?;
    }
    replace_file(path, &mut |draft| {
        draft.write_all(text.as_bytes())?;
        if let Some(permissions) = &permissions {
            draft.set_permissions(permissions.clone())?;
        }
        // A file system may write the name before the content.
        draft.sync_all()
    })
}

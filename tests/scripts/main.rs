//! The scripts that build packages and install the program, and the recipes for other scripts.

#[path = "../support/hosts/mod.rs"]
mod hosts;

mod package;
mod recipes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that ends with this value.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let name = format!("p2pchat-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new folder");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a command, and returns its stdout.
///
/// # Panics
/// It fails.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {stdout}{stderr}");
    stdout
}

/// Whether the tools of a test are here; `scripts/test` installs them. Says so if they are not.
pub fn has_tools(tools: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_missing = |tool: &&&str| {
        let mut folders = std::env::split_paths(&paths);
        !folders.any(|folder| folder.join(tool).exists())
    };
    let missing = tools.iter().find(is_missing);
    if let Some(tool) = missing {
        hosts::namespace::print_not_run(&format!("{tool} is missing"));
    }
    missing.is_none()
}

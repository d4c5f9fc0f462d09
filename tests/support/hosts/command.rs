//! Commands of the operating system that run to their end.
use std::process::Command;

/// Runs a command, whose words are separated by spaces, and returns its stdout.
///
/// # Panics
/// The command fails.
pub fn run(command: &str) -> String {
    let (success, output) = attempt(command);
    assert!(success, "{command}: {output}");
    output
}

/// Runs a command; returns whether it succeeded, and its stdout or the error.
pub fn attempt(command: &str) -> (bool, String) {
    let mut words = command.split_ascii_whitespace();
    let name = words.next().expect("a command");
    match Command::new(name).args(words).output() {
        Ok(output) if output.status.success() => {
            (true, String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => (false, String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => (false, error.to_string()),
    }
}

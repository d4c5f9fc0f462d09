//! Prints what a package has beside the program: `reference man1 | man7 | bash | zsh | fish`.
//!
//! The manual page and the completions come from the same tables as `--help`; the page on the
//! protocol of `control.sock` comes from its document.
mod bash;
mod fish;
mod manual;
mod markdown;
mod roff;
#[cfg(test)]
mod tests;
mod words;
mod zsh;

use std::env::args;
use std::process::ExitCode;

fn main() -> ExitCode {
    let text = match args().nth(1).as_deref() {
        Some("man1") => manual::page(),
        Some("man7") => markdown::page(),
        Some("bash") => bash::completion(),
        Some("zsh") => zsh::completion(),
        Some("fish") => fish::completion(),
        _ => {
            eprintln!("usage: reference man1 | man7 | bash | zsh | fish");
            return ExitCode::from(2);
        }
    };
    print!("{text}");
    ExitCode::SUCCESS
}

//! Prints checks, and turns them into an exit status.
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::ui::doctor_check::Check;

/// Prints the checks, and returns the exit status that they mean: 1 with a finding.
///
/// # Errors
/// Exit status 1: stdout cannot be written.
pub fn print_checks(options: &Options, checks: &[Check]) -> Result<ExitStatus, Failure> {
    let mut text = String::new();
    if options.json {
        let mut lines = Vec::new();
        checks.iter().for_each(|it| it.append_json(&mut lines));
        text = String::from_utf8_lossy(&lines).into_owned();
    } else {
        checks.iter().for_each(|it| it.append_text(&mut text));
    }
    let printed = print_text(&text)?;
    match checks.iter().any(Check::is_finding) {
        true if printed == ExitStatus::Success => Ok(ExitStatus::GeneralError),
        _ => Ok(printed),
    }
}

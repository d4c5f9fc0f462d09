//! `p2pchat whoami`: prints the own name, id, fingerprint and connection code.
use crate::base::event::peer::Peer;
use crate::shell::commands::print::print_text;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::attach;
use crate::shell::net::own_code::connection_code;
use crate::shell::state::network_keys::{load_network_keys, network_tag};
use crate::shell::state::state_dir::load_own_identity;
use crate::shell::stdio::stderr::print_warnings;
use crate::ui::json;
use crate::ui::tables;
use crate::wire::code::DEFAULT_PORT;

/// Width of the blank border around a QR code, in modules (the squares of the code). Scanners need
/// the border to find the edge of the code.
#[cfg(feature = "qr")]
const QR_BORDER_MODULES: i32 = 2;

/// Prints our name, id, fingerprint and connection code. If a program runs in the directory, uses
/// that program's name, port and interfaces. Creates a missing identity. Returns the exit status.
///
/// # Errors
/// Exit status 2: an option contradicts the running program. Exit status 78: the directory, the
/// identity or the secret file is unusable. Exit status 1: any other failure.
pub fn run_whoami(options: &Options) -> Result<ExitStatus, Failure> {
    let mut warnings = Vec::new();
    let identity = load_own_identity(options, &mut warnings)?;
    let keys = load_network_keys(options, &mut warnings)?;
    let mut me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    let mut port = options.port.unwrap_or(0);
    let mut interfaces = &options.interfaces;
    print_warnings(&warnings);
    let directory = options.directory.as_deref();
    let consequence = "its name and port may differ";
    let mut mapped = None;
    let running = directory.map(|directory| attach::probe_running(directory, consequence));
    let running = running.transpose()?.flatten();
    if let (Some(directory), Some(ready)) = (directory, &running) {
        attach::check_compatible(options, network_tag(keys.as_ref()), directory, ready)?;
        me.nick = ready.me.nick.clone();
        port = ready.port;
        mapped = ready.mapped;
        interfaces = &ready.interfaces;
    }
    if port == 0 {
        port = DEFAULT_PORT;
    }
    let code = connection_code(me.id, interfaces, port, mapped)
        .map_err(|error| Failure::io("the interfaces cannot be listed", &error))?
        .to_string();
    if options.json {
        let mut line = Vec::new();
        json::append_own(&me, &code, &mut line);
        return print_text(&String::from_utf8_lossy(&line));
    }
    let mut out = tables::format_own(&me, &code);
    if options.qr {
        out.push_str(&render_qr_code(&code)?);
    }
    print_text(&out)
}

/// Renders `text` as a QR code in half-block characters. Each character shows two modules (squares
/// of the code), one above the other.
#[cfg(feature = "qr")]
fn render_qr_code(text: &str) -> Result<String, Failure> {
    let code = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Low).map_err(|_| {
        Failure::new(
            ExitStatus::GeneralError,
            "the connection code is too long for a QR code",
        )
    })?;
    let (size, border) = (code.size(), QR_BORDER_MODULES);
    let mut out = String::new();
    for y in (-border..size + border).step_by(2) {
        for x in -border..size + border {
            out.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push('\n');
    }
    Ok(out)
}

/// Refuses `--qr`, because this program was built without the feature `qr`.
#[cfg(not(feature = "qr"))]
fn render_qr_code(_: &str) -> Result<String, Failure> {
    Err(Failure::usage(
        "--qr is not part of this build: print the code as text, or build with `--features qr`",
    ))
}

//! `p2pchat history`: prints the stored lines in their total order.
use std::io::{self, ErrorKind, IsTerminal};
use std::path::Path;

use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Nick, PeerSelector};
use crate::base::time::WallTime;
use crate::node::membership::known_peers::{KnownPeers, ResolvedPeer, ambiguity_message};
use crate::shell::commands::print::{stdout_exit_status, write_stdout};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::{Since, Verbosity};
use crate::shell::ipc::attach;
use crate::shell::os::clock::Clock;
use crate::shell::session::frontend::builder;
use crate::shell::session::frontend::renderer::Renderer;
use crate::shell::session::history_query;
use crate::shell::session::history_query::{HistoryQuery, QueryOutput};
use crate::shell::state::history_format::check_history_format;
use crate::shell::state::identity_file::{identity_path, read_identity};
use crate::shell::state::network_keys::{load_network_keys, network_tag};
use crate::shell::state::state_dir::{StateDir, check_directory, history_dir};
use crate::shell::stdio::stderr::print_warnings;
use crate::shell::store::scan::{FolderSpan, HistorySource};
use crate::ui::session_event::SessionEvent;

/// Output is buffered, and written to stdout when the buffer holds this many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// Prints the stored lines of one network and returns the exit status. If a program runs in the
/// directory, that program's network is used. Otherwise the options choose the network. Creates,
/// locks and repairs no file.
///
/// # Errors
/// Exit status 1: the selected peer is unknown or ambiguous. Exit status 2: an option contradicts
/// the running program. Exit status 78: a file cannot be read.
pub fn run_history(options: &Options) -> Result<ExitStatus, Failure> {
    let mut warnings = Vec::new();
    let keys = load_network_keys(options, &mut warnings)?;
    let Some(directory) = &options.directory else {
        return Ok(ExitStatus::Success);
    };
    check_directory(directory)?;
    check_history_format(&history_dir(directory))?;
    // A run in this directory reports bad lines of the file.
    let known_peers = StateDir::open_unlocked(directory).read_known_peers(&mut Vec::new())?;
    if options.verbosity > Verbosity::Quiet {
        print_warnings(&warnings);
    }
    let running = attach::probe_running(directory, "its network may be another")?;
    if let Some(ready) = &running {
        attach::check_compatible(options, network_tag(keys.as_ref()), directory, ready)?;
    }
    let (network, nick) = match &running {
        Some(ready) => (ready.network, &ready.me.nick),
        None => (network_tag(keys.as_ref()), &options.username),
    };
    let own = read_identity(&identity_path(directory), &mut warnings);
    let own = own.ok().flatten().map(|identity| Peer {
        id: identity.id(),
        nick: nick.clone(),
    });
    let now = Clock::start().now().wall;
    let query = build_query(options, &known_peers, own.as_ref(), now)?;
    let mut renderer = create_renderer(options, &known_peers, own.as_ref());
    let source = HistorySource::on_disk(&history_dir(directory), network);
    let (mut stdout, mut out) = (Ok(()), Vec::new());
    let mut write = |renderer: &mut Renderer, out: &mut Vec<u8>| {
        stdout = write_stdout(&renderer.compose_output(std::mem::take(out)));
        match &stdout {
            Ok(()) => Ok(()),
            Err(error) => Err(error.kind().into()),
        }
    };
    let (mut damage, mut odd) = (Vec::new(), Vec::new());
    let output = QueryOutput {
        emit: &mut |kind| {
            let event = SessionEvent::new(None, kind);
            renderer.append_event(&event, now, &mut out);
            match out.len() >= CHUNK_BYTES {
                true => write(&mut renderer, &mut out),
                false => Ok(()),
            }
        },
        skip_unreadable: &mut |error| match error.kind() {
            ErrorKind::InvalidInput => {
                odd.push(format!("{error}: passed over"));
                Ok(())
            }
            _ => Err(error),
        },
        report_damage: &mut |report| damage.push(report.to_string()),
        backlog_of: None,
    };
    let queried = history_query::run_query_to(&source, network, &query, output);
    let queried = queried.and_then(|()| write(&mut renderer, &mut out));
    if options.verbosity > Verbosity::Quiet {
        print_warnings(&odd);
        print_warnings(&damage);
    }
    if running.is_some() && !damage.is_empty() {
        attach::request_audit(directory);
    }
    match (stdout, queried) {
        (Ok(()), Err(error)) => Err(unreadable_history(directory, &error)),
        (stdout, _) => stdout_exit_status(stdout),
    }
}

fn unreadable_history(directory: &Path, error: &io::Error) -> Failure {
    Failure::config(format!(
        "the history in {} cannot be read: {error}",
        directory.display()
    ))
}

fn build_query(
    options: &Options,
    known_peers: &[KnownPeer],
    own: Option<&Peer>,
    now: WallTime,
) -> Result<HistoryQuery, Failure> {
    let selector = options.to_peer.as_ref();
    let peer = selector
        .map(|selector| resolve_peer(selector, known_peers, own))
        .transpose()?;
    Ok(HistoryQuery {
        before: None,
        folders: match peer {
            Some(_) => vec![FolderName::direct().into()],
            None => options.rooms.iter().map(FolderSpan::from).collect(),
        },
        peer,
        since: options.since.map(|since| match since {
            Since::At(at) => at,
            Since::AgoMs(ms) => WallTime(now.0.saturating_sub(ms)),
        }),
        search: options.search.clone(),
        filter: options.filter.clone(),
        limit: options.count,
    })
}

/// Returns the id of the peer that `--to` selects. `own` is our name and id, if we have an
/// identity. The selector may name us.
fn resolve_peer(
    selector: &PeerSelector,
    known_peers: &[KnownPeer],
    own: Option<&Peer>,
) -> Result<PeerId, Failure> {
    let own = own.filter(|own| selector.matches(&own.nick, &own.id));
    match (
        KnownPeers::new(known_peers.to_vec()).resolve(selector, &[]),
        own,
    ) {
        (ResolvedPeer::Unique(peer), _) => Ok(peer.id),
        (ResolvedPeer::Ambiguous(peers), _) => {
            let candidates = ambiguity_message(&peers);
            Err(Failure::new(
                ExitStatus::GeneralError,
                format!("{selector} {candidates}"),
            ))
        }
        (_, Some(own)) => Ok(own.id),
        _ => Err(Failure::new(
            ExitStatus::GeneralError,
            format!("{selector} is not a known peer"),
        )),
    }
}

fn create_renderer(options: &Options, known_peers: &[KnownPeer], own: Option<&Peer>) -> Renderer {
    // A stored line is rendered the same for every reader, so a placeholder serves as the reader.
    let reader = Peer {
        id: PeerId([0; 32]),
        nick: Nick::new_or_placeholder(""),
    };
    let mut renderer = builder::create_renderer(options, io::stdout().is_terminal(), &reader);
    for known in known_peers {
        renderer.record_known_name(known.id, &known.nick);
    }
    // Direct messages show their recipient by name, and we may be the recipient.
    if let Some(own) = own {
        renderer.record_known_name(own.id, &own.nick);
    }
    renderer
}

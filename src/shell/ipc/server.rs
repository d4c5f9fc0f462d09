//! The local socket, at the side of the program that runs in the directory: others of this user act through it.
//!
//! A client that does not read holds up nobody: what it would be shown is in the history, and where that ends is told when there is room again.
use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mio::event::Event;
use mio::net::UnixListener;
use mio::{Interest, Registry, Token};

use crate::base::batch::LogId;
use crate::base::error_code::Refusal;
use crate::base::event::{Delivery, KnownPeer, Notice, Position, count_present};
use crate::base::name::{FolderName, Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::ipc::connection::{Connection, is_same_user};
use crate::shell::ipc::message::message;
use crate::shell::ipc::message::message::{IpcMessage, REQUEST_BODY_MAX_BYTES, Request, Welcome};
use crate::shell::session::reply_format::ReplyFormat;
use crate::shell::store::store::Store;
use crate::ui::{json, tables};

/// Most clients at a time; others wait for their turn.
const CLIENTS_MAX: usize = 32;
/// How many bytes of a client may lie here.
const INPUT_MAX_BYTES: usize = 2 * REQUEST_BODY_MAX_BYTES;
/// A client for which so many bytes wait is read no further, and is not told what happens.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// Most targets whose last lines a client waits for that an earlier program stored.
const TRACKED_HEADS_MAX: usize = 1024;
/// Longest path of a socket, in bytes: what the kernel takes, without the zero at the end.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// Where the socket of a directory is.
///
/// # Errors
/// 78: the path is longer than a socket's may be.
pub fn socket_path(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("control.sock");
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX_BYTES {
        return Err(Failure::config(format!(
            "the state directory {} is too deep for the socket in it ({SOCKET_PATH_MAX_BYTES} bytes with its name): give another with --dir, or --ephemeral",
            directory.display()
        )));
    }
    Ok(path)
}

struct AttachedClient {
    connection: Connection,
    /// It wants to say something that cannot be stored now.
    is_send_blocked: bool,
    /// The parts of the history that it follows, and the ends of them that it was told.
    sent_positions: SortedMap<FolderName, Position>,
    /// It is told of events.
    is_following: bool,
    /// Targets of what it said and was not yet told of, in order.
    unconfirmed: VecDeque<Target>,
    /// What it waits for: for each target the own log and its line.
    tracked_heads: SortedMap<Target, (LogId, u64)>,
    /// Its question for a reader that is not answered yet.
    pending_resolve: Option<u64>,
    finish: Option<Option<u64>>,
    last_delivery: Option<(bool, Delivery)>,
}

/// The socket, and who came. With --ephemeral there is none.
pub struct Server {
    socket: Option<(PathBuf, UnixListener)>,
    tokens: Range<usize>,
    clients: SortedMap<usize, AttachedClient>,
    /// Somebody knocks.
    is_accept_ready: bool,
    /// Whose request is being carried out, and how it wants its answer.
    current: Option<(usize, ReplyFormat)>,
    /// When a delivery may change although nothing happens.
    recheck_at: Option<Time>,
    /// Questions for readers that were asked.
    last_request_id: u64,
}

impl Server {
    /// Opens the socket of a directory that is locked by this program: what lies there is of one that died.
    ///
    /// # Errors
    /// 78: the directory is too deep, or takes no socket.
    pub fn open(
        directory: Option<&Path>,
        registry: &Registry,
        tokens: Range<usize>,
    ) -> Result<Server, Failure> {
        let mut control = Server {
            socket: None,
            tokens,
            clients: SortedMap::new(),
            is_accept_ready: false,
            current: None,
            recheck_at: None,
            last_request_id: 0,
        };
        if let Some(directory) = directory {
            let path = socket_path(directory)?;
            let socket = bind_socket(directory, &path).and_then(|mut listener| {
                let token = Token(control.tokens.start);
                registry.register(&mut listener, token, Interest::READABLE)?;
                Ok(listener)
            });
            let socket = socket.map_err(|error| {
                let place = directory.display();
                let sentence = format!(
                    "no socket can be had in {place} ({error}): give another directory with --dir, or --ephemeral"
                );
                Failure::new(ExitStatus::ConfigError, sentence)
            })?;
            control.socket = Some((path, socket));
        }
        Ok(control)
    }

    pub fn owns_token(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    pub fn handle_event(&mut self, event: &Event) {
        let token = event.token().0;
        if token == self.tokens.start {
            self.is_accept_ready = true;
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.connection.handle_event(event);
        }
    }

    /// There is something to do at once. `takes`: lines can be stored.
    pub fn has_work(&self, takes: bool) -> bool {
        let waits = |client: &AttachedClient| {
            client.can_read()
                || client.connection.is_closed && !client.is_send_blocked
                || client.is_send_blocked && takes
        };
        self.is_accept_ready && self.clients.len() < CLIENTS_MAX || self.clients.values().any(waits)
    }

    pub fn deadline(&self) -> Option<Time> {
        self.recheck_at
    }

    /// Lets in who knocks, and reads what the others say.
    pub fn accept_and_read(&mut self, registry: &Registry, welcome: impl FnOnce() -> Welcome) {
        if self.is_accept_ready && self.clients.len() < CLIENTS_MAX {
            self.accept_clients(registry, &welcome());
        }
        for client in self.clients.values_mut().filter(|client| client.can_read()) {
            client.connection.read();
        }
    }

    fn accept_clients(&mut self, registry: &Registry, welcome: &Welcome) {
        let Some((_, listener)) = &self.socket else {
            return;
        };
        while self.clients.len() < CLIENTS_MAX {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.is_accept_ready = false;
                    return;
                }
            };
            let used = |token: &usize| self.clients.contains_key(token);
            let free = (self.tokens.start + 1..self.tokens.end).find(|token| !used(token));
            let Some(token) = free.filter(|_| is_same_user(&stream)) else {
                continue;
            };
            let Ok(pipe) = Connection::new(stream, registry, Token(token)) else {
                continue;
            };
            let mut client = AttachedClient {
                connection: pipe,
                is_send_blocked: false,
                sent_positions: SortedMap::new(),
                is_following: false,
                unconfirmed: VecDeque::new(),
                tracked_heads: SortedMap::new(),
                pending_resolve: None,
                finish: None,
                last_delivery: None,
            };
            message::encode_welcome(&mut client.connection.output, welcome);
            client.connection.flush();
            self.clients.insert(token, client);
        }
    }

    /// The next thing that somebody wants done, other than what concerns this side alone. Lines only while the program `takes` them.
    pub fn next_request(&mut self, takes: bool) -> Option<Request> {
        self.current = None;
        for (token, client) in self.clients.iter_mut() {
            loop {
                client.is_send_blocked = !takes && client.connection.input.starts_with(b"say ");
                if client.is_send_blocked || client.connection.output.len() >= OUTPUT_MAX_BYTES {
                    break;
                }
                let request = match IpcMessage::decode(
                    &mut client.connection.input,
                    REQUEST_BODY_MAX_BYTES,
                ) {
                    Ok(Some(message)) => message.into_request(),
                    Ok(None) => break,
                    Err(_) => None,
                };
                match request {
                    Some(Request::FollowNotices) => client.is_following = true,
                    Some(Request::Finish(need)) => client.finish = Some(need),
                    Some(request) => {
                        let form = match &request {
                            Request::ListPeers(form) | Request::GetStats(form) => *form,
                            _ => ReplyFormat::Rows,
                        };
                        self.current = Some((*token, form));
                        return Some(request);
                    }
                    None => {
                        client.connection.input.clear();
                        client.connection.mark_closed();
                    }
                }
            }
        }
        // Whoever left may still have said something, and that is done by now, unless it has to wait.
        self.clients
            .retain(|_, client| !client.connection.is_closed || client.is_send_blocked);
        None
    }

    fn current_client(&mut self) -> Option<&mut AttachedClient> {
        let (token, _) = self.current?;
        self.clients.get_mut(&token)
    }

    /// The folder stands open: what comes into it from now on is told.
    pub fn send_joined(&mut self, folder: FolderName, store: &Store) {
        if let Some(client) = self.current_client() {
            let end = store.end(&folder);
            message::encode_position(&mut client.connection.output, "joined", &folder, end);
            client.sent_positions.insert(folder, end);
        }
    }

    /// It could not be joined, and why was told.
    pub fn send_join_refused(&mut self, room: &Room) {
        if let Some(client) = self.current_client() {
            message::encode_header(
                &mut client.connection.output,
                format_args!("unjoined {room}"),
            );
        }
    }

    /// The room is followed no more.
    pub fn send_parted(&mut self, room: &Room, store: &Store) {
        if let Some(client) = self.current_client() {
            client.send_positions(store);
            client.sent_positions.remove(&room.into());
            message::encode_header(&mut client.connection.output, format_args!("parted {room}"));
        }
    }

    /// Lines were handed to the core; whether they are stored will show. `taken`: they could be.
    pub fn track_send(&mut self, target: Target, taken: bool) {
        if let Some(client) = self.current_client() {
            match taken {
                true => client.unconfirmed.push_back(target),
                false => {
                    message::encode_header(&mut client.connection.output, format_args!("refused"))
                }
            }
        }
    }

    pub fn track_head(&mut self, log: LogId, sequence: u64) {
        if let Some(client) = self.current_client()
            && client.tracked_heads.len() < TRACKED_HEADS_MAX
        {
            client
                .tracked_heads
                .insert(log.target.clone(), (log, sequence));
        }
    }

    /// A reader is looked for: the serial of the question.
    pub fn start_resolve(&mut self) -> u64 {
        self.last_request_id += 1;
        let serial = self.last_request_id;
        if let Some(client) = self.current_client() {
            client.pending_resolve = Some(serial);
        }
        serial
    }

    /// Somebody was met: whoever is shown what is said is to know the name.
    pub fn send_peer_nick(&mut self, known: &KnownPeer) {
        for client in self
            .clients
            .values_mut()
            .filter(|client| client.is_following)
        {
            let words = format_args!("known {} {}", known.id, known.nick);
            message::encode_header(&mut client.connection.output, words);
        }
    }

    /// Something happened. Gives back what is not the answer to somebody here.
    pub fn route_notice(&mut self, notice: Notice, store: &Store) -> Option<Notice> {
        let form = self.current.map(|(_, form)| form);
        match (&notice, form, self.current_client()) {
            (Notice::Peers(views), Some(form), Some(client)) => {
                let mut rows = Vec::new();
                match form {
                    ReplyFormat::Rows => {
                        rows.extend_from_slice(tables::format_peer_rows(views).as_bytes())
                    }
                    ReplyFormat::Table => {
                        rows.extend_from_slice(tables::format_users(views).as_bytes())
                    }
                    ReplyFormat::Json => json::append_notice(&notice, &mut rows),
                }
                let words = format_args!("peers {}", count_present(views));
                message::encode_with_body(&mut client.connection.output, words, &rows);
                return None;
            }
            (Notice::Stats(stats), Some(form), Some(client)) => {
                let mut lines = Vec::new();
                match form {
                    ReplyFormat::Json => json::append_notice(&notice, &mut lines),
                    _ => lines.extend_from_slice(tables::format_stats(stats).as_bytes()),
                }
                message::encode_with_body(
                    &mut client.connection.output,
                    format_args!("stats"),
                    &lines,
                );
                return None;
            }
            (
                Notice::Resolved {
                    request_id: serial,
                    result: reader,
                },
                ..,
            ) => {
                let asked = |client: &&mut AttachedClient| client.pending_resolve == Some(*serial);
                if let Some(client) = self.clients.values_mut().find(asked) {
                    client.pending_resolve = None;
                    let out = &mut client.connection.output;
                    match reader {
                        Ok(reader) => message::encode_header(out, format_args!("found {reader}")),
                        Err(Refusal { code, content }) => {
                            message::encode_with_body(
                                out,
                                format_args!("lost {code}"),
                                content.as_bytes(),
                            );
                        }
                    }
                }
                return None;
            }
            (Notice::Error { .. }, _, Some(client)) => {
                message::encode_notice(&mut client.connection.output, &notice);
                return None;
            }
            (Notice::Chat(_) | Notice::Error { .. }, ..) => return Some(notice),
            _ => {}
        }
        let mut line = Vec::new();
        let follow = |client: &&mut AttachedClient| {
            client.is_following && client.connection.output.len() < OUTPUT_MAX_BYTES
        };
        for client in self.clients.values_mut().filter(follow) {
            if line.is_empty() && !message::encode_notice(&mut line, &notice) {
                break;
            }
            // Lines that were said before it are to be shown before it.
            client.send_positions(store);
            client.connection.output.extend_from_slice(&line);
        }
        Some(notice)
    }

    /// Tells everyone what this turn brought.
    pub fn end_turn(&mut self, store: &Store, node: &Node) {
        self.recheck_at = None;
        let met = node.link_count() > 0;
        for client in self.clients.values_mut() {
            if node.can_accept() {
                client.send_accepted(node);
            }
            if client.connection.output.len() < OUTPUT_MAX_BYTES {
                client.send_positions(store);
            }
            if client.unconfirmed.is_empty()
                && let Some(need) = client.finish
            {
                let delivery = client.compute_delivery(node, need);
                self.recheck_at = [self.recheck_at, delivery.recheck_at]
                    .into_iter()
                    .flatten()
                    .min();
                client.send_delivery(met, delivery);
            }
            client.connection.flush();
        }
    }

    /// The end: nobody else comes, and those who are here go on by themselves.
    pub fn close(&mut self) {
        if let Some((path, _)) = self.socket.take() {
            // Whoever has the directory next replaces what is left.
            let _ = fs::remove_file(path);
        }
        self.clients.clear();
    }
}

impl Drop for Server {
    /// A start that failed leaves no socket either.
    fn drop(&mut self) {
        self.close();
    }
}

/// Under another name first, so that it never stands there with wrong rights, and replaces what a crash left.
fn bind_socket(directory: &Path, path: &Path) -> io::Result<UnixListener> {
    let draft = directory.join("control.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    fs::rename(draft, path)?;
    Ok(listener)
}

impl AttachedClient {
    fn can_read(&self) -> bool {
        self.connection.is_readable
            && self.connection.input.len() < INPUT_MAX_BYTES
            && self.connection.output.len() < OUTPUT_MAX_BYTES
    }

    fn send_positions(&mut self, store: &Store) {
        for (folder, told) in self.sent_positions.iter_mut() {
            let end = store.end(folder);
            if end != *told {
                *told = end;
                message::encode_position(&mut self.connection.output, "end", folder, end);
            }
        }
    }

    fn send_accepted(&mut self, node: &Node) {
        while let Some(target) = self.unconfirmed.pop_front() {
            let Some((log, sequence)) = node.own_head(&target) else {
                message::encode_header(&mut self.connection.output, format_args!("refused"));
                continue;
            };
            let words = format_args!("accepted {} {sequence}", message::LogIdWords(&log));
            message::encode_header(&mut self.connection.output, words);
            self.tracked_heads.insert(target, (log, sequence));
        }
    }

    fn compute_delivery(&mut self, node: &Node, need: Option<u64>) -> Delivery {
        // What was said under numbers that came into doubt is said again under new ones.
        for (log, sequence) in self.tracked_heads.values_mut() {
            if let Some(place) = node.republished_position(log, *sequence) {
                (*log, *sequence) = place;
            }
        }
        let heads = self.tracked_heads.values().map(|(log, last)| (log, *last));
        node.delivery_of(&heads.collect::<Vec<_>>(), need)
    }

    fn send_delivery(&mut self, met: bool, delivery: Delivery) {
        let told = (
            met,
            Delivery {
                recheck_at: None,
                ..delivery
            },
        );
        if self.last_delivery == Some(told) || self.connection.output.len() >= OUTPUT_MAX_BYTES {
            return;
        }
        self.last_delivery = Some(told);
        let Delivery {
            linked_peers: linked,
            acked_peers: holding,
            required_peers: needed,
            has_undelivered: lacking,
            is_settled: settled,
            ..
        } = delivery;
        let words = format_args!("delivery {met} {linked} {holding} {needed} {lacking} {settled}");
        message::encode_header(&mut self.connection.output, words);
    }
}

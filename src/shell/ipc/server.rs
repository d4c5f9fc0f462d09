//! The server of `control.sock`. Other programs of the same user act through it.
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
use crate::base::event::{KnownPeer, Notice, Peer, count_present};
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::ipc::attached_client::AttachedClient;
use crate::shell::ipc::connection::{Connection, is_same_user};
use crate::shell::ipc::message::notice::encode_notice;
use crate::shell::ipc::message::request::Request;
use crate::shell::ipc::message::response::{Response, Welcome};
use crate::shell::session::reply_format::ReplyFormat;
use crate::shell::store::store::Store;
use crate::ui::{json, tables};

/// Limit of the number of attached clients. More clients wait in the listener's backlog.
const CLIENTS_MAX: usize = 32;
/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7) without its final zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;

/// The path of `control.sock` in a directory.
///
/// # Errors
/// Exit status 78: the path is longer than 107 bytes, the kernel's limit (unix(7)).
pub fn socket_path(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("control.sock");
    if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX_BYTES {
        return Err(Failure::config(format!(
            "the path of {} is longer than {SOCKET_PATH_MAX_BYTES} bytes: choose another \
             directory with --dir, or --ephemeral",
            path.display()
        )));
    }
    Ok(path)
}

/// The listening socket and the path of its file. The server removes the file at the end.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

/// The request that the event loop is executing.
struct CurrentRequest {
    /// The token of the client that sent the request.
    token: usize,
    /// The format that the client wants for the reply.
    format: ReplyFormat,
}

/// The server of `control.sock`, with its clients. With --ephemeral it has no socket, and thus no
/// clients.
pub struct Server {
    socket: Option<Socket>,
    /// Poll tokens of the server's sockets. The lowest token is for the listener. The others are
    /// for clients.
    tokens: Range<usize>,
    clients: SortedMap<usize, AttachedClient>,
    /// Whether a client may be waiting to be accepted.
    is_accept_ready: bool,
    current: Option<CurrentRequest>,
    /// When the delivery of the clients' lines must be checked again.
    recheck_at: Option<Time>,
    /// The id of the newest [`Request::Resolve`] of all clients.
    last_request_id: u64,
}

impl Server {
    /// Opens the socket of a directory that this program has locked. Replaces a socket that a
    /// killed program left. Without a directory, the server has no socket.
    ///
    /// # Errors
    /// Exit status 78: the path is too long, or the socket cannot be created.
    pub fn open(
        directory: Option<&Path>,
        registry: &Registry,
        tokens: Range<usize>,
    ) -> Result<Server, Failure> {
        let listener_token = Token(tokens.start);
        let mut server = Server {
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
            let listener = bind_socket(directory, &path).and_then(|mut listener| {
                registry.register(&mut listener, listener_token, Interest::READABLE)?;
                Ok(listener)
            });
            let listener = listener.map_err(|error| {
                Failure::new(
                    ExitStatus::ConfigError,
                    format!(
                        "{} cannot be created ({error}): choose another directory with --dir, or \
                         --ephemeral",
                        path.display()
                    ),
                )
            })?;
            server.socket = Some(Socket { path, listener });
        }
        Ok(server)
    }

    /// Whether the token is one of the server's tokens.
    pub fn owns_token(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Records which socket is ready. [`Self::accept_and_read`] then reads from the socket.
    pub fn handle_event(&mut self, event: &Event) {
        let token = event.token().0;
        if token == self.tokens.start {
            self.is_accept_ready = true;
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.connection_mut().handle_event(event);
        }
    }

    /// Whether the server can act before the next event. `can_accept` tells whether lines can be
    /// stored now.
    pub fn has_work(&self, can_accept: bool) -> bool {
        self.can_connect()
            || self
                .clients
                .values()
                .any(|client| client.has_work(can_accept))
    }

    fn can_connect(&self) -> bool {
        self.is_accept_ready && self.clients.len() < CLIENTS_MAX
    }

    /// When the delivery of the clients' lines must be checked again, even if no event comes.
    pub fn deadline(&self) -> Option<Time> {
        self.recheck_at
    }

    /// Accepts the waiting clients, and reads from the sockets of all clients. `welcome` creates
    /// the first response to new clients. It is called only if a client may be waiting.
    pub fn accept_and_read(&mut self, registry: &Registry, welcome: impl FnOnce() -> Welcome) {
        if self.can_connect() {
            self.accept_clients(registry, welcome());
        }
        for client in self.clients.values_mut().filter(|client| client.can_read()) {
            client.connection_mut().read();
        }
    }

    fn accept_clients(&mut self, registry: &Registry, welcome: Welcome) {
        let Some(socket) = &self.socket else {
            return;
        };
        let welcome = Response::Welcome(Box::new(welcome));
        while self.clients.len() < CLIENTS_MAX {
            let stream = match socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.is_accept_ready = false;
                    return;
                }
            };
            let is_free = |token: &usize| !self.clients.contains_key(token);
            let free = (self.tokens.start + 1..self.tokens.end).find(is_free);
            let Some(token) = free.filter(|_| is_same_user(&stream)) else {
                continue;
            };
            let Ok(connection) = Connection::new(stream, registry, Token(token)) else {
                continue;
            };
            let mut client = AttachedClient::new(connection);
            client.send(&welcome);
            client.connection_mut().flush();
            self.clients.insert(token, client);
        }
    }

    /// Takes the next request of any client. The sender of this request is the current client until
    /// the next call. If `can_accept` is false, a [`Request::Send`] waits.
    pub fn next_request(&mut self, can_accept: bool) -> Option<Request> {
        self.current = None;
        for (token, client) in self.clients.iter_mut() {
            if let Some(request) = client.next_request(can_accept) {
                let format = match &request {
                    Request::ListPeers(format) | Request::GetStats(format) => *format,
                    _ => ReplyFormat::Rows,
                };
                self.current = Some(CurrentRequest {
                    token: *token,
                    format,
                });
                return Some(request);
            }
        }
        // Remove disconnected clients only now, after their requests are executed. A client whose
        // send must wait stays.
        self.clients.retain(|_, client| !client.is_gone());
        None
    }

    fn current_client(&mut self) -> Option<&mut AttachedClient> {
        let token = self.current.as_ref()?.token;
        self.clients.get_mut(&token)
    }

    /// Whether the current client has requested notices, as a client does that prints a transcript.
    pub fn is_current_following(&mut self) -> bool {
        self.current_client()
            .is_some_and(|client| client.is_following())
    }

    /// Makes the current client follow this folder. The folder is already open.
    pub fn send_joined(&mut self, folder: FolderName, store: &Store) {
        if let Some(client) = self.current_client() {
            client.follow_folder(folder, store);
        }
    }

    /// Tells the current client that the server cannot join the room. The caller has sent an error
    /// notice with the reason before.
    pub fn send_join_refused(&mut self, room: Room) {
        if let Some(client) = self.current_client() {
            client.send(&Response::JoinRefused(room));
        }
    }

    /// Makes the current client stop following the room's folder.
    pub fn send_parted(&mut self, room: Room, store: &Store) {
        if let Some(client) = self.current_client() {
            client.unfollow_room(room, store);
        }
    }

    /// Records that the core got lines of the current client to this target. `is_published` tells
    /// whether the core published the lines. Only [`Self::end_turn`] learns whether the lines are
    /// stored.
    pub fn track_send(&mut self, target: Target, is_published: bool) {
        if let Some(client) = self.current_client() {
            client.track_send(target, is_published);
        }
    }

    /// Records that the current client awaits the delivery of our log's lines, from the first one
    /// to `sequence`.
    pub fn track_head(&mut self, log: LogId, sequence: u64) {
        if let Some(client) = self.current_client() {
            client.track_head(log, sequence);
        }
    }

    /// Assigns an id to the current client's request to find a peer. The core's answer carries the
    /// same id.
    pub fn start_resolve(&mut self) -> u64 {
        self.last_request_id += 1;
        let request_id = self.last_request_id;
        if let Some(client) = self.current_client() {
            client.pending_resolve = Some(request_id);
        }
        request_id
    }

    /// Sends a known peer's nick to every client that has requested notices.
    pub fn send_peer_nick(&mut self, known: &KnownPeer) {
        let response = Response::PeerNick(Peer {
            id: known.id,
            nick: known.nick.clone(),
        });
        for client in self.clients.values_mut() {
            if client.is_following() {
                client.send(&response);
            }
        }
    }

    /// Sends a notice to the clients that need it. An answer goes only to the client that asked.
    /// Returns the notice if the session has to handle it too.
    pub fn route_notice(&mut self, notice: Notice, store: &Store) -> Option<Notice> {
        match &notice {
            Notice::Resolved { request_id, result } => {
                self.send_resolved(*request_id, result.clone());
                return None;
            }
            Notice::Peers(_) | Notice::Stats(_) | Notice::Error { .. }
                if self.answer_current(&notice) =>
            {
                return None;
            }
            Notice::Chat(_) | Notice::Error { .. } => {}
            notice => self.send_to_followers(notice, store),
        }
        Some(notice)
    }

    fn send_resolved(&mut self, request_id: u64, result: Result<PeerId, Refusal>) {
        let has_asked = |client: &&mut AttachedClient| client.pending_resolve == Some(request_id);
        if let Some(client) = self.clients.values_mut().find(has_asked) {
            client.pending_resolve = None;
            client.send(&match result {
                Ok(peer) => Response::Resolved(peer),
                Err(refusal) => Response::ResolveFailed(refusal),
            });
        }
    }

    /// Sends a notice to the current client, as the answer to that client's request. Returns false
    /// if there is no current client.
    fn answer_current(&mut self, notice: &Notice) -> bool {
        let Some(format) = self.current.as_ref().map(|current| current.format) else {
            return false;
        };
        let Some(client) = self.current_client() else {
            return false;
        };
        client.send(&match notice {
            Notice::Peers(peers) => Response::Peers {
                count: count_present(peers),
                list: match format {
                    ReplyFormat::Rows => tables::format_peer_rows(peers).into_bytes(),
                    ReplyFormat::Table => tables::format_users(peers).into_bytes(),
                    ReplyFormat::Json => render_json(notice),
                },
            },
            Notice::Stats(counters) => Response::Stats(match format {
                ReplyFormat::Json => render_json(notice),
                _ => tables::format_stats(counters).into_bytes(),
            }),
            notice => Response::Notice(notice.clone()),
        });
        true
    }

    fn send_to_followers(&mut self, notice: &Notice, store: &Store) {
        let mut encoded = Vec::new();
        for client in self.clients.values_mut() {
            if client.can_take_notice() {
                if encoded.is_empty() && !encode_notice(&mut encoded, notice) {
                    return;
                }
                client.send_notice(&encoded, store);
            }
        }
    }

    /// Sends each client what has changed in this turn.
    pub fn end_turn(&mut self, store: &Store, node: &Node) {
        let clients = self.clients.values_mut();
        self.recheck_at = clients
            .filter_map(|client| client.end_turn(store, node))
            .min();
    }

    /// Removes the socket and closes every connection. The clients then go on without this server.
    pub fn close(&mut self) {
        if let Some(socket) = self.socket.take() {
            // If this fails, the next program in this directory replaces the file.
            let _ = fs::remove_file(socket.path);
        }
        self.clients.clear();
    }
}

impl Drop for Server {
    /// Removes the socket, even if the start or the shutdown of the run has failed.
    fn drop(&mut self) {
        self.close();
    }
}

/// Binds the socket at another path in the directory, and then renames it to `path`. The socket
/// thus has its final permissions as soon as it is at `path`. The renaming replaces a socket that a
/// killed program left.
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

fn render_json(notice: &Notice) -> Vec<u8> {
    let mut line = Vec::new();
    json::append_notice(notice, &mut line);
    line
}

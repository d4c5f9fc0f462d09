//! The server of `control.sock`. Other programs of the same user act through it.
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::event::Event;
use mio::net::UnixListener;
use mio::{Interest, Registry, Token};

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::ipc::connection::{Connection, LineTooLong, is_same_user};
use crate::shell::ipc::socket;
use crate::shell::ipc::socket::SOCKET_NAME;
use crate::shell::os::descriptors::ACCEPT_RETRY_MS;
use crate::shell::session::event_sink::EventSink;
use crate::shell::session::session::{Session, SessionAction, Surroundings};
use crate::ui::json;
use crate::ui::json_parser::requests::parse_request;
use crate::ui::request::{InvalidRequest, RequestKind};
use crate::ui::session_event::{EventKind, Ready, SessionEvent};

/// Limit of the number of attached clients. More clients wait in the listener's backlog.
const CLIENTS_MAX: usize = 32;
/// Longest request, in bytes. The lines of one batch are always shorter.
const REQUEST_MAX_BYTES: usize = 512 * 1024;

/// The listening socket and the path of its file. The server removes the file at the end.
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

/// A connected program, and its session.
struct Client {
    session: Session,
    connection: Connection,
}

/// When the server accepts the next client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// When the poll reports that a client waits.
    WhenReported,
    /// At this time: a client may be waiting. The poll reports it only once.
    From(Time),
}

/// The server of `control.sock`, with its clients. With --ephemeral it has no socket, and thus no
/// clients.
pub struct Server {
    socket: Option<Socket>,
    /// Poll tokens of the server's sockets. The lowest token is for the listener. The others are
    /// for clients.
    tokens: Range<usize>,
    clients: SortedMap<usize, Client>,
    /// When to accept the next client.
    accepting: Accepting,
    /// The identity as which all sessions act.
    own_id: PeerId,
    /// Ends the sleep of the event loop from another thread.
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Server {
    /// Opens the socket of a directory that this program has locked. Replaces a socket that a
    /// killed program left. Without a directory, the server has no socket.
    ///
    /// # Errors
    /// Exit status 78: the socket cannot be created.
    pub fn open(
        directory: Option<&Path>,
        registry: &Registry,
        tokens: Range<usize>,
        own_id: PeerId,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> Result<Server, Failure> {
        let listener_token = Token(tokens.start);
        let mut server = Server {
            socket: None,
            tokens,
            clients: SortedMap::new(),
            accepting: Accepting::WhenReported,
            own_id,
            wake,
        };
        if let Some(directory) = directory {
            let path = directory.join(SOCKET_NAME);
            let listener = socket::bind(directory).and_then(|mut listener| {
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
            self.accepting = Accepting::From(Time::default());
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.connection.handle_event(event);
        }
    }

    /// Whether the server can act before the next event, without waiting for its deadline.
    /// `can_accept` tells whether lines can be stored now.
    pub fn has_work(&self, now: Time, can_accept: bool) -> bool {
        self.can_connect(now)
            || self
                .clients
                .values()
                .any(|client| client.has_work(can_accept))
    }

    /// When to accept a client that may be waiting. `None`: none waits, or the limit of clients is
    /// reached.
    pub fn deadline(&self) -> Option<Time> {
        match self.accepting {
            Accepting::From(at) if self.clients.len() < CLIENTS_MAX => Some(at),
            _ => None,
        }
    }

    /// Whether a client may be waiting and can be accepted now.
    pub fn can_connect(&self, now: Time) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// Accepts the waiting clients, and reads from the sockets of all clients. `ready`: the first
    /// event that new clients get. If `ready` is `None`, accepts no clients.
    pub fn accept_and_read(&mut self, registry: &Registry, now: Time, ready: Option<Ready>) {
        if let Some(ready) = ready {
            self.accept_clients(registry, now, ready);
        }
        self.clients.retain(|_, client| !client.is_gone());
        for client in self.clients.values_mut() {
            if client.connection.can_read() && client.connection.can_answer() {
                client.connection.read();
            }
        }
    }

    fn accept_clients(&mut self, registry: &Registry, now: Time, ready: Ready) {
        let Some(socket) = &self.socket else {
            return;
        };
        let mut first = Vec::new();
        let ready = SessionEvent::new(None, EventKind::Ready(Box::new(ready)));
        json::append_event(&ready, false, &mut first);
        while self.clients.len() < CLIENTS_MAX {
            let stream = match socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    ErrorKind::WouldBlock => return self.accepting = Accepting::WhenReported,
                    // No descriptor is left.
                    _ => return self.accepting = Accepting::From(now + ACCEPT_RETRY_MS),
                },
            };
            let is_free = |token: &usize| !self.clients.contains_key(token);
            let free = (self.tokens.start + 1..self.tokens.end).find(is_free);
            let Some(token) = free.filter(|_| is_same_user(&stream)) else {
                continue;
            };
            let connection = Connection::new(stream, registry, Token(token), REQUEST_MAX_BYTES);
            let Ok(mut connection) = connection else {
                continue;
            };
            connection.output.extend_from_slice(&first);
            connection.flush();
            let session = Session::new(self.own_id, false, Arc::clone(&self.wake));
            let client = Client {
                session,
                connection,
            };
            self.clients.insert(token, client);
        }
    }

    /// The keys of all clients.
    pub fn keys(&self) -> Vec<usize> {
        self.clients.keys().copied().collect()
    }

    /// The session of a client, and the connection that takes its events.
    pub fn get_mut(&mut self, key: usize) -> Option<(&mut Session, &mut dyn EventSink)> {
        let client = self.clients.get_mut(&key)?;
        Some((&mut client.session, &mut client.connection))
    }

    /// The sessions of all clients, with their connections.
    pub fn sessions_mut(&mut self) -> impl Iterator<Item = (&mut Session, &mut dyn EventSink)> {
        self.clients.values_mut().map(|client| {
            let sink: &mut dyn EventSink = &mut client.connection;
            (&mut client.session, sink)
        })
    }

    /// Executes requests of a client, until one needs the event loop.
    pub fn next_action(
        &mut self,
        key: usize,
        around: &mut Surroundings<'_>,
    ) -> Option<SessionAction> {
        self.clients.get_mut(&key)?.next_action(around)
    }

    /// Writes to the sockets of all clients.
    pub fn flush(&mut self) {
        for client in self.clients.values_mut() {
            client.connection.flush();
        }
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

impl Client {
    /// Whether the client has disconnected or quit, and its requests are executed.
    fn is_gone(&self) -> bool {
        let (session, connection) = (&self.session, &self.connection);
        let is_done = session.has_quit() || session.request_count() == 0 && !connection.has_line();
        let is_answered = connection.output.is_empty() && session.is_idle();
        is_done
            && (connection.is_broken()
                || (connection.is_closed() && !session.is_listening() || session.has_quit())
                    && is_answered)
    }

    fn has_work(&self, can_accept: bool) -> bool {
        let is_parsing = self.session.is_ready_for_request() && self.connection.has_line();
        self.is_gone()
            || self.connection.can_answer() && (self.connection.can_read() || is_parsing)
            || self.session.has_work(can_accept, &self.connection)
    }

    /// Executes requests, until one needs the event loop. Parses a request only when those before
    /// it are executed, so that a fast client costs no memory.
    fn next_action(&mut self, around: &mut Surroundings<'_>) -> Option<SessionAction> {
        loop {
            let action = self.session.next_action(around, &mut self.connection);
            if action.is_some() {
                return action;
            }
            if !self.session.is_ready_for_request() || !self.connection.can_answer() {
                return None;
            }
            let request = match self.connection.next_line()? {
                Ok(line) => parse_request(line),
                Err(LineTooLong) => Err(InvalidRequest {
                    id: None,
                    message: format!("the line is longer than {} KiB", REQUEST_MAX_BYTES / 1024),
                }),
            };
            match request {
                Ok(request) => {
                    if let RequestKind::Listen(listen) = &*request.kind {
                        self.connection.is_batch = listen.is_batch;
                    }
                    self.session.push_request(request);
                }
                Err(InvalidRequest { id, message }) => {
                    let code = ErrorCode::InvalidLine;
                    let content = message;
                    let refusal = Notice::Error { code, content };
                    self.connection.emit(SessionEvent::new(id, refusal));
                }
            }
        }
    }
}

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
use crate::base::event::{Delivery, Known, Notice, Position, present};
use crate::base::name::{Folder, Room, Target};
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::node::Node;
use crate::shell::config::exit_status::CONFIG;
use crate::shell::config::failure::Failure;
use crate::shell::ipc::connection::{Pipe, is_own};
use crate::shell::ipc::message;
use crate::shell::ipc::message::{Form, Message, REQUEST_MAX, Request, Welcome};
use crate::shell::store::store::Store;
use crate::ui::{json, text};

/// Most clients at a time; others wait for their turn.
const CLIENTS_MAX: usize = 32;
/// How many bytes of a client may lie here.
const INPUT_MAX: usize = 2 * REQUEST_MAX;
/// A client for which so many bytes wait is read no further, and is not told what happens.
const OUTPUT_MAX: usize = 64 * 1024;
/// Most targets whose last lines a client waits for that an earlier program stored.
const HEADS_MAX: usize = 1024;
/// Longest path of a socket, in bytes: what the kernel takes, without the zero at the end.
const PATH_MAX: usize = 107;

/// Where the socket of a directory is.
///
/// # Errors
/// 78: the path is longer than a socket's may be.
pub fn path(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join("control.sock");
    if path.as_os_str().as_bytes().len() > PATH_MAX {
        return Err(Failure::config(format!(
            "the state directory {} is too deep for the socket in it ({PATH_MAX} bytes with its name): give another with --dir, or --ephemeral",
            directory.display()
        )));
    }
    Ok(path)
}

struct Client {
    pipe: Pipe,
    /// It wants to say something that cannot be stored now.
    held: bool,
    /// The parts of the history that it follows, and the ends of them that it was told.
    told: Table<Folder, Position>,
    /// It is told of events.
    follows: bool,
    /// Targets of what it said and was not yet told of, in order.
    unconfirmed: VecDeque<Target>,
    /// What it waits for: for each target the own log and its line.
    heads: Table<Target, (LogId, u64)>,
    /// Its question for a reader that is not answered yet.
    finding: Option<u64>,
    finish: Option<Option<u64>>,
    delivery: Option<(bool, Delivery)>,
}

/// The socket, and who came. With --ephemeral there is none.
pub struct Control {
    socket: Option<(PathBuf, UnixListener)>,
    tokens: Range<usize>,
    clients: Table<usize, Client>,
    /// Somebody knocks.
    knock: bool,
    /// Whose request is being carried out, and how it wants its answer.
    served: Option<(usize, Form)>,
    /// When a delivery may change although nothing happens.
    again: Option<Time>,
    /// Questions for readers that were asked.
    finds: u64,
}

impl Control {
    /// Opens the socket of a directory that is locked by this program: what lies there is of one that died.
    ///
    /// # Errors
    /// 78: the directory is too deep, or takes no socket.
    pub fn open(
        directory: Option<&Path>,
        registry: &Registry,
        tokens: Range<usize>,
    ) -> Result<Control, Failure> {
        let mut control = Control {
            socket: None,
            tokens,
            clients: Table::new(),
            knock: false,
            served: None,
            again: None,
            finds: 0,
        };
        if let Some(directory) = directory {
            let path = path(directory)?;
            let socket = bind(directory, &path).and_then(|mut listener| {
                let token = Token(control.tokens.start);
                registry.register(&mut listener, token, Interest::READABLE)?;
                Ok(listener)
            });
            let socket = socket.map_err(|error| {
                let place = directory.display();
                let sentence = format!(
                    "no socket can be had in {place} ({error}): give another directory with --dir, or --ephemeral"
                );
                Failure::new(CONFIG, sentence)
            })?;
            control.socket = Some((path, socket));
        }
        Ok(control)
    }

    pub fn owns(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    pub fn event(&mut self, event: &Event) {
        let token = event.token().0;
        if token == self.tokens.start {
            self.knock = true;
        } else if let Some(client) = self.clients.get_mut(&token) {
            client.pipe.event(event);
        }
    }

    /// There is something to do at once. `takes`: lines can be stored.
    pub fn busy(&self, takes: bool) -> bool {
        let waits = |client: &Client| {
            client.reads() || client.pipe.ended && !client.held || client.held && takes
        };
        self.knock && self.clients.len() < CLIENTS_MAX || self.clients.values().any(waits)
    }

    pub fn deadline(&self) -> Option<Time> {
        self.again
    }

    /// Lets in who knocks, and reads what the others say.
    pub fn read(&mut self, registry: &Registry, welcome: impl FnOnce() -> Welcome) {
        if self.knock && self.clients.len() < CLIENTS_MAX {
            self.admit(registry, &welcome());
        }
        for client in self.clients.values_mut().filter(|client| client.reads()) {
            client.pipe.read();
        }
    }

    fn admit(&mut self, registry: &Registry, welcome: &Welcome) {
        let Some((_, listener)) = &self.socket else {
            return;
        };
        while self.clients.len() < CLIENTS_MAX {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.knock = false;
                    return;
                }
            };
            let used = |token: &usize| self.clients.contains_key(token);
            let free = (self.tokens.start + 1..self.tokens.end).find(|token| !used(token));
            let Some(token) = free.filter(|_| is_own(&stream)) else {
                continue;
            };
            let Ok(pipe) = Pipe::new(stream, registry, Token(token)) else {
                continue;
            };
            let mut client = Client {
                pipe,
                held: false,
                told: Table::new(),
                follows: false,
                unconfirmed: VecDeque::new(),
                heads: Table::new(),
                finding: None,
                finish: None,
                delivery: None,
            };
            message::put_welcome(&mut client.pipe.output, welcome);
            client.pipe.flush();
            self.clients.insert(token, client);
        }
    }

    /// The next thing that somebody wants done, other than what concerns this side alone. Lines only while the program `takes` them.
    pub fn next(&mut self, takes: bool) -> Option<Request> {
        self.served = None;
        for (token, client) in self.clients.iter_mut() {
            loop {
                client.held = !takes && client.pipe.input.starts_with(b"say ");
                if client.held || client.pipe.output.len() >= OUTPUT_MAX {
                    break;
                }
                let request = match Message::take(&mut client.pipe.input, REQUEST_MAX) {
                    Ok(Some(message)) => message.request(),
                    Ok(None) => break,
                    Err(_) => None,
                };
                match request {
                    Some(Request::Follow) => client.follows = true,
                    Some(Request::Finish(need)) => client.finish = Some(need),
                    Some(request) => {
                        let form = match &request {
                            Request::Peers(form) | Request::Stats(form) => *form,
                            _ => Form::Rows,
                        };
                        self.served = Some((*token, form));
                        return Some(request);
                    }
                    None => {
                        client.pipe.input.clear();
                        client.pipe.end();
                    }
                }
            }
        }
        // Whoever left may still have said something, and that is done by now, unless it has to wait.
        self.clients
            .retain(|_, client| !client.pipe.ended || client.held);
        None
    }

    fn client(&mut self) -> Option<&mut Client> {
        let (token, _) = self.served?;
        self.clients.get_mut(&token)
    }

    /// The folder stands open: what comes into it from now on is told.
    pub fn joined(&mut self, folder: Folder, store: &Store) {
        if let Some(client) = self.client() {
            let end = store.end(&folder);
            message::put_position(&mut client.pipe.output, "joined", &folder, end);
            client.told.insert(folder, end);
        }
    }

    /// It could not be joined, and why was told.
    pub fn not_joined(&mut self, room: &Room) {
        if let Some(client) = self.client() {
            message::put(&mut client.pipe.output, format_args!("unjoined {room}"));
        }
    }

    /// The room is followed no more.
    pub fn parted(&mut self, room: &Room, store: &Store) {
        if let Some(client) = self.client() {
            client.tell_ends(store);
            client.told.remove(&room.into());
            message::put(&mut client.pipe.output, format_args!("parted {room}"));
        }
    }

    /// Lines were handed to the core; whether they are stored will show. `taken`: they could be.
    pub fn said(&mut self, target: Target, taken: bool) {
        if let Some(client) = self.client() {
            match taken {
                true => client.unconfirmed.push_back(target),
                false => message::put(&mut client.pipe.output, format_args!("refused")),
            }
        }
    }

    pub fn awaits(&mut self, log: LogId, sequence: u64) {
        if let Some(client) = self.client()
            && client.heads.len() < HEADS_MAX
        {
            client.heads.insert(log.target.clone(), (log, sequence));
        }
    }

    /// A reader is looked for: the serial of the question.
    pub fn finds(&mut self) -> u64 {
        self.finds += 1;
        let serial = self.finds;
        if let Some(client) = self.client() {
            client.finding = Some(serial);
        }
        serial
    }

    /// Somebody was met: whoever is shown what is said is to know the name.
    pub fn met(&mut self, known: &Known) {
        for client in self.clients.values_mut().filter(|client| client.follows) {
            let words = format_args!("known {} {}", known.id, known.nick);
            message::put(&mut client.pipe.output, words);
        }
    }

    /// Something happened. Gives back what is not the answer to somebody here.
    pub fn notice(&mut self, notice: Notice, store: &Store) -> Option<Notice> {
        let form = self.served.map(|(_, form)| form);
        match (&notice, form, self.client()) {
            (Notice::Peers(views), Some(form), Some(client)) => {
                let mut rows = Vec::new();
                match form {
                    Form::Rows => rows.extend_from_slice(text::peer_rows(views).as_bytes()),
                    Form::Table => rows.extend_from_slice(text::users(views).as_bytes()),
                    Form::Json => json::append(&notice, &mut rows),
                }
                let words = format_args!("peers {}", present(views));
                message::put_with(&mut client.pipe.output, words, &rows);
                return None;
            }
            (Notice::Stats(stats), Some(form), Some(client)) => {
                let mut lines = Vec::new();
                match form {
                    Form::Json => json::append(&notice, &mut lines),
                    _ => lines.extend_from_slice(text::stats(stats).as_bytes()),
                }
                message::put_with(&mut client.pipe.output, format_args!("stats"), &lines);
                return None;
            }
            (Notice::Found { serial, reader }, ..) => {
                let asked = |client: &&mut Client| client.finding == Some(*serial);
                if let Some(client) = self.clients.values_mut().find(asked) {
                    client.finding = None;
                    let out = &mut client.pipe.output;
                    match reader {
                        Ok(reader) => message::put(out, format_args!("found {reader}")),
                        Err((code, why)) => {
                            message::put_with(out, format_args!("lost {code}"), why.as_bytes());
                        }
                    }
                }
                return None;
            }
            (Notice::Error { .. }, _, Some(client)) => {
                message::put_notice(&mut client.pipe.output, &notice);
                return None;
            }
            (Notice::Chat(_) | Notice::Error { .. }, ..) => return Some(notice),
            _ => {}
        }
        let mut line = Vec::new();
        let follow = |client: &&mut Client| client.follows && client.pipe.output.len() < OUTPUT_MAX;
        for client in self.clients.values_mut().filter(follow) {
            if line.is_empty() && !message::put_notice(&mut line, &notice) {
                break;
            }
            // Lines that were said before it are to be shown before it.
            client.tell_ends(store);
            client.pipe.output.extend_from_slice(&line);
        }
        Some(notice)
    }

    /// Tells everyone what this turn brought.
    pub fn end_turn(&mut self, store: &Store, node: &Node) {
        self.again = None;
        let met = node.linked() > 0;
        for client in self.clients.values_mut() {
            if node.accepting() {
                client.confirm(node);
            }
            if client.pipe.output.len() < OUTPUT_MAX {
                client.tell_ends(store);
            }
            if client.unconfirmed.is_empty()
                && let Some(need) = client.finish
            {
                let delivery = client.delivery(node, need);
                self.again = [self.again, delivery.again].into_iter().flatten().min();
                client.tell_delivery(met, delivery);
            }
            client.pipe.flush();
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

impl Drop for Control {
    /// A start that failed leaves no socket either.
    fn drop(&mut self) {
        self.close();
    }
}

/// Under another name first, so that it never stands there with wrong rights, and replaces what a crash left.
fn bind(directory: &Path, path: &Path) -> io::Result<UnixListener> {
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

impl Client {
    fn reads(&self) -> bool {
        self.pipe.readable
            && self.pipe.input.len() < INPUT_MAX
            && self.pipe.output.len() < OUTPUT_MAX
    }

    fn tell_ends(&mut self, store: &Store) {
        for (folder, told) in self.told.iter_mut() {
            let end = store.end(folder);
            if end != *told {
                *told = end;
                message::put_position(&mut self.pipe.output, "end", folder, end);
            }
        }
    }

    fn confirm(&mut self, node: &Node) {
        while let Some(target) = self.unconfirmed.pop_front() {
            let Some((log, sequence)) = node.head(&target) else {
                message::put(&mut self.pipe.output, format_args!("refused"));
                continue;
            };
            let words = format_args!("accepted {} {sequence}", message::Log(&log));
            message::put(&mut self.pipe.output, words);
            self.heads.insert(target, (log, sequence));
        }
    }

    fn delivery(&mut self, node: &Node, need: Option<u64>) -> Delivery {
        // What was said under numbers that came into doubt is said again under new ones.
        for (log, sequence) in self.heads.values_mut() {
            if let Some(place) = node.place(log, *sequence) {
                (*log, *sequence) = place;
            }
        }
        let heads = self.heads.values().map(|(log, last)| (log, *last));
        node.delivery_of(&heads.collect::<Vec<_>>(), need)
    }

    fn tell_delivery(&mut self, met: bool, delivery: Delivery) {
        let told = (
            met,
            Delivery {
                again: None,
                ..delivery
            },
        );
        if self.delivery == Some(told) || self.pipe.output.len() >= OUTPUT_MAX {
            return;
        }
        self.delivery = Some(told);
        let Delivery {
            linked,
            holding,
            needed,
            lacking,
            settled,
            ..
        } = delivery;
        let words = format_args!("delivery {met} {linked} {holding} {needed} {lacking} {settled}");
        message::put(&mut self.pipe.output, words);
    }
}

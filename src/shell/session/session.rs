//! The person or script at this program: what they say, what they are shown, and when they have had enough.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal};

use crossbeam_channel::TryRecvError;
use termion::event::Key;

use crate::base::event::{Command, Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{Folder, Room, Target, Whom};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::{CLOSED_OUTPUT, DONE, FAILED, HUNG_UP, INTERRUPTED};
use crate::shell::os::signals::Signal;
use crate::shell::session::command_queue::Wishes;
use crate::shell::session::exit_policy::{Goal, Purpose};
use crate::shell::session::history_query::{Lookback, Query};
use crate::shell::session::renderer::Face;
use crate::shell::session::transcript::Transcript;
use crate::shell::stdio::stderr::{Diagnostics, Verbosity};
use crate::shell::stdio::stdin;
use crate::shell::stdio::stdin::{Block, Keyboard, Typed};
use crate::shell::stdio::stdout::Printer;
use crate::shell::store::store::Store;
use crate::ui::command::{self, HELP, Request};
use crate::ui::editor::Outcome;
use crate::ui::{json, text};

/// Commands typed while an answer from the history is awaited, at most.
const REQUESTS_MAX: usize = 64;
/// Lines that /history and /search show, at most: the last ones.
const HISTORY_MAX: u64 = 1000;
const SEARCH_MAX: u64 = 100;

/// How lines of stdin are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Every line is said as it is.
    Plain,
    /// Lines that begin with `/` are commands.
    Commands,
    Json,
}

pub struct Session {
    pub goal: Goal,
    pub face: Face,
    pub transcript: Transcript,
    /// Without one, nothing is shown: `send`, but for --json.
    pub printer: Option<Printer>,
    pub keyboard: Option<Keyboard>,
    pub diagnostics: Diagnostics,
    pub language: Language,
    pub need: Option<u64>,
    /// Stored lines to print first.
    pub backlog: u64,
    /// What stdin and stdout were at the start: one that hung up is a terminal no more.
    typing: bool,
    reading: bool,
    /// It was told that all is ready.
    stands: bool,
    /// `peers`: the look round is over, and its result asked for.
    looked: bool,
    pub(super) pending: Wishes,
    /// What was asked for and not yet begun: one that looks back holds up the others until it is answered.
    pub(super) requests: VecDeque<(Option<u64>, Request)>,
    /// The numbers of the lines that are being said.
    asking: Vec<u64>,
    lookback: Lookback,
    /// Lines that stdin gave and the store does not take now: what else comes from a person is not behind them.
    pub(super) held: Option<Block>,
    /// The end of input came, and the core is still to be told.
    pub(super) ending: bool,
    /// It was told that a part of the history cannot be read.
    unread: bool,
    /// Answers that stdout had no room for. While there are any, nothing is taken from stdin: so they are bounded by one block's.
    pub(super) owed: Vec<u8>,
    /// The run is over but for what stdout still takes: how far that was last seen to be, and for how long it is waited for.
    pub(super) drain: Option<(u64, Time)>,
}

/// What a session is made of.
pub struct Parts {
    pub goal: Goal,
    pub own: PeerId,
    pub face: Face,
    pub echo: bool,
    pub printer: Option<Printer>,
    pub keyboard: Option<Keyboard>,
    pub verbosity: Verbosity,
    pub language: Language,
    pub need: Option<u64>,
    pub backlog: u64,
    /// Said at once: the TEXT of `send`.
    pub text: Option<Lines>,
    pub lookback: Lookback,
    /// `send`: the one peer to whom all is said.
    pub to: Option<Whom>,
    /// Milliseconds within which that peer must be found.
    pub wait: u64,
}

impl Session {
    pub fn new(parts: Parts) -> Session {
        let typing = io::stdin().is_terminal();
        // A script is served as soon as the reader comes, a person is answered now.
        let mut pending = Wishes::new(parts.to, if typing { 0 } else { parts.wait });
        if let Some(lines) = parts.text.filter(|lines| !lines.is_empty()) {
            pending.say(lines);
        }
        Session {
            goal: parts.goal,
            face: parts.face,
            transcript: Transcript::new(parts.own, parts.echo),
            printer: parts.printer,
            keyboard: parts.keyboard,
            diagnostics: Diagnostics::new(parts.verbosity),
            language: parts.language,
            need: parts.need,
            backlog: parts.backlog,
            typing,
            reading: io::stdout().is_terminal(),
            stands: false,
            looked: false,
            pending,
            requests: VecDeque::new(),
            asking: Vec::new(),
            lookback: parts.lookback,
            held: None,
            ending: false,
            unread: false,
            owed: Vec::new(),
            drain: None,
        }
    }

    /// Everything stands: say so. Scripts are told once, whoever has the port later.
    pub fn ready(&mut self, port: u16, me: &Peer, spoken: Option<&Room>) {
        let again = std::mem::replace(&mut self.stands, true);
        self.face.speak_in(spoken);
        if !matches!(self.goal.purpose, Purpose::Chat | Purpose::Listen) {
            return;
        }
        if self.face.is_json() && !again {
            let mut line = Vec::new();
            json::append_ready(me, port, &mut line);
            self.show(line);
        }
        if self.diagnostics.is(Verbosity::Normal) {
            self.complain(&format!("ready as {me} on {port}"));
            if self.face.has_editor() && !again {
                self.complain("type a line to say it; /help lists the commands, Ctrl-D leaves");
            }
        }
    }

    /// A part of the history stands open.
    pub fn open(&mut self, store: &Store, folder: &Folder) {
        if self.prints() {
            let only_new = self.goal.remaining().is_some();
            self.transcript.open(store, folder, self.backlog, only_new);
        }
    }

    /// Does it print what is said there?
    pub fn shows(&self, folder: &Folder) -> bool {
        self.transcript.is_open(folder)
    }

    /// Of rooms that are there for others no more is printed than what is said by this identity.
    fn hides(&self, notice: &Notice) -> bool {
        let room = match notice {
            Notice::Joined { room, .. } | Notice::Left { room, .. } => room,
            Notice::Renamed { room, .. } => room,
            Notice::Gap {
                target: Target::Room(room),
                ..
            } => room,
            _ => return false,
        };
        !self.shows(&Folder::from(room))
    }

    /// The transcript is on stdout.
    pub fn prints(&self) -> bool {
        self.printer.is_some() && matches!(self.goal.purpose, Purpose::Chat | Purpose::Listen)
    }

    /// There is something to be taken from stdin now.
    pub fn busy(&self, takes: bool) -> bool {
        let came = |keyboard: &Keyboard| !keyboard.typed.is_empty();
        let waiting = match self.held {
            Some(_) => takes,
            None => self.keyboard.as_ref().is_some_and(came) || self.said_all(),
        };
        let waiting = waiting && !self.goal.ended();
        !self.pending.is_empty() || waiting && self.owed.is_empty() && !self.looking_back()
    }

    /// Until it is answered, or begun, nothing more is taken from stdin. A person may go on typing.
    fn looking_back(&self) -> bool {
        let most = match self.face.has_editor() {
            true => REQUESTS_MAX,
            false => 1,
        };
        self.requests.len() >= most
    }

    pub fn deadline(&self) -> Option<Time> {
        let drained = self.drain.map(|(_, until)| until);
        drained.or_else(|| self.goal.deadline())
    }

    /// What stdin asks for next. At most one block of lines a turn is taken, and none unless the store `takes` lines.
    pub fn take_in(&mut self, now: Now, takes: bool) {
        if self.goal.ended() {
            return;
        }
        if self.looking() && self.goal.deadline().is_none_or(|at| at <= now.time) {
            self.looked = true;
            self.pending.push(Command::Peers);
        }
        if !self.pending.is_empty() || !self.owed.is_empty() || self.looking_back() {
            return;
        }
        match self.held.take() {
            Some(block) if takes => return self.lines(block),
            Some(block) => {
                self.held = Some(block);
                return;
            }
            None => {}
        }
        let typed = match self.keyboard.as_ref().map(|k| k.typed.try_recv()) {
            Some(Ok(typed)) => typed,
            Some(Err(TryRecvError::Disconnected)) => Typed::End,
            Some(Err(TryRecvError::Empty)) => return,
            // `send` with TEXT, `listen` and `peers` read nothing.
            None if self.said_all() => Typed::End,
            None => return,
        };
        match typed {
            Typed::Lines(block) if takes => self.lines(block),
            Typed::Lines(block) => self.held = Some(block),
            Typed::Key(key) => self.key(key),
            // A terminal that hung up is no more than that.
            Typed::Failed(_) if self.typing => {}
            Typed::Failed(kind) => {
                self.complain(&format!("stdin cannot be read: {kind}"));
                self.goal.refuse();
            }
            Typed::End if self.typing && !io::stdin().is_terminal() => {
                self.keyboard = None;
                self.goal.cut(HUNG_UP);
            }
            Typed::End => {
                self.keyboard = None;
                self.goal.input_ended(now.time);
                self.ending = true;
            }
        }
    }

    /// `send` with TEXT is at its end as soon as that is said: nothing comes from stdin to tell so.
    fn said_all(&self) -> bool {
        self.goal.purpose == Purpose::Send && self.keyboard.is_none() && !self.goal.finishing()
    }

    pub(super) fn looking(&self) -> bool {
        self.goal.purpose == Purpose::Peers && !self.looked
    }

    /// Are lines waiting that have not been published yet?
    pub fn has_unsent_lines(&self) -> bool {
        self.pending.says()
    }

    /// A reader is looked for no longer than this run lasts: then there is time to store the lines.
    pub fn next_command(&mut self, now: Time) -> Option<Command> {
        let (mut command, lines) = self.pending.pop().unzip();
        self.asking = lines.unwrap_or_default();
        if let (Some(Command::Tell { within, .. }), Some(until)) =
            (&mut command, self.goal.deadline())
        {
            *within = until.since(now).min(*within);
        }
        command
    }

    fn lines(&mut self, block: Block) {
        let refused = block.refused.iter();
        let refused = refused.map(|(number, error)| (*number, error.to_string()));
        self.refuse("line", refused);
        if self.language == Language::Plain {
            if !block.lines.is_empty() {
                self.pending.say(block.lines);
            }
            return;
        }
        let mut bad = Vec::new();
        let mut requests = Vec::new();
        for (number, line) in block.numbered() {
            let request = if self.language == Language::Json {
                json::parse(line)
            } else {
                command::parse(line)
            };
            match request {
                Ok(request) => requests.push((Some(number), request)),
                Err(sentence) => bad.push((number, sentence)),
            }
        }
        self.refuse("line", bad.into_iter());
        self.requests.extend(requests);
        self.go_on();
    }

    /// Begins what was asked for, up to the next look into the history.
    fn go_on(&mut self) {
        while !self.goal.ended()
            && let Some((line, request)) = self.requests.pop_front()
        {
            if matches!(request, Request::History(_) | Request::Search(_)) {
                self.requests.push_front((line, request));
                break;
            }
            self.request(request, line);
        }
    }

    /// Looks into the history, once all that was asked for before is done.
    pub fn look_back(&mut self, now: Now, store: &Store, spoken: Option<&Room>) {
        match self.lookback.take() {
            Some(answer) => {
                self.requests.pop_front();
                match answer {
                    Ok(lines) if self.face.is_json() => self.show(lines),
                    Ok(lines) => self.aside(lines),
                    Err(error) => self.complain(&format!("the history cannot be read: {error}")),
                }
                self.go_on();
            }
            None if self.lookback.busy() || !self.pending.is_empty() => return,
            None => {}
        }
        let query = match self.requests.front().map(|(_, request)| request) {
            Some(Request::History(lines)) => Query {
                // In no room nothing is spoken in: then of all.
                folders: spoken.into_iter().map(Folder::from).collect(),
                last: Some(*lines.min(&HISTORY_MAX)),
                ..Query::default()
            },
            Some(Request::Search(text)) => Query {
                search: Some(text.clone()),
                last: Some(SEARCH_MAX),
                ..Query::default()
            },
            _ => return,
        };
        if self.pending.is_empty() {
            self.lookback.ask(store, query, self.face.apart(), now.wall);
        }
    }

    /// Lines by their numbers, and what is wrong with each. One block may have thousands, so they are said in one piece.
    fn refuse(&mut self, code: &str, bad: impl Iterator<Item = (u64, String)>) {
        let (mut answers, mut sentences) = (Vec::new(), Vec::new());
        for (number, sentence) in bad {
            let sentence = format!("line {number}: {sentence}");
            if self.face.is_json() {
                json::append_error(code, &sentence, &mut answers);
            }
            sentences.push(text::complaint(&sentence));
        }
        if sentences.is_empty() {
            return;
        }
        self.goal.refuse();
        if !answers.is_empty() {
            self.show(answers);
        }
        self.sentence(&sentences.join("\n"));
    }

    fn request(&mut self, request: Request, line: Option<u64>) {
        match request {
            Request::Core(command) => self.pending.push_of(command, line),
            Request::Help if self.face.is_json() => self.complain(&HELP.replace('\n', "; ")),
            Request::Help => self.aside(HELP.as_bytes().to_vec()),
            Request::Quit if self.typing => self.goal.end(DONE),
            Request::Quit => self.goal.quit(),
            // They wait for their turn: see `go_on`.
            Request::History(_) | Request::Search(_) => {}
        }
    }

    fn key(&mut self, key: Key) {
        match self.face.key(key) {
            Outcome::Edited | Outcome::Refused => self.show(Vec::new()),
            Outcome::Interrupt => self.goal.cut(INTERRUPTED),
            Outcome::EndOfInput => self.goal.end(DONE),
            Outcome::Line(line) => {
                self.show(Vec::new());
                if line.is_empty() {
                    return;
                }
                match command::parse(&line) {
                    Ok(request) => {
                        self.requests.push_back((None, request));
                        self.go_on();
                    }
                    Err(sentence) => self.complain(&sentence),
                }
            }
        }
    }

    pub fn speak_in(&mut self, room: Option<&Room>) {
        self.face.speak_in(room);
        if self.face.has_editor() {
            self.show(Vec::new());
        }
    }

    /// Something happened in the core.
    pub fn notice(&mut self, mut notice: Notice, store: &Store) {
        if let Notice::Rooms(rooms) = &mut notice
            && self.prints()
        {
            rooms.retain(|room| self.transcript.is_open(&Folder::from(room)));
        }
        match &notice {
            Notice::Error {
                code: "room",
                content,
            } if !self.asking.is_empty() => {
                let lines = std::mem::take(&mut self.asking).into_iter();
                return self.refuse("room", lines.map(|line| (line, content.clone())));
            }
            Notice::Settled => self.goal.settled(),
            Notice::Joined { .. } => self.goal.met(),
            Notice::Error { code: "target", .. } => self.goal.refuse(),
            Notice::Error { code: "key", .. } => self.goal.other_key(),
            // A person sees it, and a script counts on its status.
            Notice::Error { code: "room", .. } if !self.face.has_editor() => self.goal.refuse(),
            _ => {}
        }
        if let Some(warning) = text::diagnostic(&notice) {
            self.sentence(&warning);
        }
        let shown = match self.goal.purpose {
            Purpose::Chat | Purpose::Listen => !self.hides(&notice),
            Purpose::Send => matches!(notice, Notice::Error { .. }),
            Purpose::Peers => false,
        };
        match (&notice, &self.printer) {
            (Notice::Peers(_) | Notice::Rooms(_) | Notice::Stats(_), _) => self.answer(&notice),
            (_, Some(_)) if !shown => {}
            (_, None) => {}
            (Notice::Chat(chat), Some(printer)) => {
                self.transcript
                    .chat(chat, self.goal.remaining(), store, &mut self.face, printer);
                self.goal
                    .printed(std::mem::take(&mut self.transcript.lines));
            }
            (_, Some(printer)) => self.transcript.event(&notice, &mut self.face, printer),
        }
    }

    /// Said once: a place that cannot be read is come to again and again.
    pub fn unread(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.unread, true) {
            self.complain(&format!("a part of the history cannot be read: {error}"));
        }
    }

    /// A sentence for stderr.
    pub fn complain(&mut self, sentence: &str) {
        self.sentence(&text::complaint(sentence));
    }

    fn sentence(&mut self, line: &str) {
        if self.face.has_editor() && io::stderr().is_terminal() {
            self.show(format!("{line}\n").into_bytes());
        } else {
            self.diagnostics.say(line);
        }
    }

    /// Lines for stdout that do not come from the history.
    pub(super) fn show(&mut self, lines: Vec<u8>) {
        let Some(printer) = &self.printer else {
            return;
        };
        if !lines.is_empty() && (!self.owed.is_empty() || !printer.room()) {
            self.owed.extend_from_slice(&lines);
        } else {
            self.transcript.print_now(lines, &mut self.face, printer);
        }
    }

    /// Goes on with what stdout did not take before, and notes what it has taken.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn end_turn(&mut self, store: &mut Store) -> io::Result<()> {
        let Some(printer) = &self.printer else {
            return Ok(());
        };
        if !self.owed.is_empty() && printer.room() {
            let owed = std::mem::take(&mut self.owed);
            self.transcript.print_now(owed, &mut self.face, printer);
        }
        let read = self
            .transcript
            .catch_up(self.goal.remaining(), store, &mut self.face, printer);
        self.goal
            .printed(std::mem::take(&mut self.transcript.lines));
        self.transcript.note_printed(store, printer);
        let shown = std::mem::take(&mut self.transcript.shown);
        if self.reading && !self.face.is_json() {
            for (log, sequence) in shown {
                self.pending.push(Command::Shown { log, sequence });
            }
        }
        let broken = printer.broken().filter(|_| !self.goal.is_cut());
        if let Err(error) = read {
            self.unread(&error);
        }
        match broken {
            Some(ErrorKind::BrokenPipe) => self.goal.cut(CLOSED_OUTPUT),
            Some(_) if self.reading => self.goal.cut(HUNG_UP),
            Some(kind) => {
                self.complain(&format!("stdout cannot be written: {kind}"));
                self.goal.cut(FAILED);
            }
            None => {}
        }
        Ok(())
    }

    /// True: options are to be read again.
    pub fn signal(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::End(status) => self.goal.cut(status),
            // A person is, or was, at a terminal of ours.
            Signal::HangUp if self.typing || self.reading => self.goal.cut(HUNG_UP),
            Signal::HangUp => return true,
            Signal::Resize => self.resize(),
            Signal::Resume => self.resume(),
        }
        false
    }

    /// What is asked for by other ways than stdin.
    pub fn ask(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|c| self.pending.push(c));
    }

    /// What another program was asked for, and will not do any more, is to be done before all else.
    pub fn take_over(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.pending.push_front(command);
        }
        self.ending |= self.goal.finishing();
    }

    fn resize(&mut self) {
        self.face.resize(columns());
        if self.face.has_editor() {
            self.show(Vec::new());
        }
    }

    /// The program was stopped and goes on: a shell that had the terminal meanwhile has changed its modes and its size.
    fn resume(&mut self) {
        stdin::resume();
        self.resize();
    }
}

/// The terminal's width; 0 if there is none.
pub fn columns() -> u16 {
    termion::terminal_size().map_or(0, |(columns, _)| columns)
}

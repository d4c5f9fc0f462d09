//! A run as long as it acts through another program, and what of it outlives that program.
//!
//! What was said comes from the history, so that a run goes on line by line where it is, whoever writes it. What is to be said is kept
//! until it is told to be stored.
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use mio::{Events, Token};

use crate::base::event::{Command, Delivery, Notice};
use crate::base::identity::NetworkTag;
use crate::base::name::{Room, Target};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::FAILED;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::ipc::connection::Pipe;
use crate::shell::ipc::message;
use crate::shell::ipc::message::{ANSWER_MAX, Log, Message, Told, Welcome};
use crate::shell::ipc::outbox::{Asked, Outbox};
use crate::shell::os::signals::Signals;
use crate::shell::runtime::event_loop::SIGNALS;
use crate::shell::session::builder::{Desk, cannot};
use crate::shell::session::session::Session;
use crate::shell::state::state_dir::State;
use crate::shell::store::read_only::View;
use crate::shell::store::store::Store;

const LINK: Token = Token(4);
/// Milliseconds for which an answer is waited for.
pub const PATIENCE: u64 = 10_000;
/// Milliseconds between two tries to come in.
const RETRY: u64 = 5;
/// Milliseconds for which a run that was ended waits for what it said to be taken.
const LINGER: u64 = 1_300;
/// Milliseconds that the last lines may take then.
const LAST: u64 = 500;
/// All that outlives the program it acts through.
pub struct Guest {
    welcome: Option<Welcome>,
    /// The first is spoken in.
    rooms: Vec<Room>,
    store: Store,
    outbox: Outbox,
    /// Parts of the history that are to open, or to close.
    opening: usize,
    /// The peers were asked for.
    looking: bool,
    /// When something was last asked for.
    asked: Time,
    /// When it last told of what was said, or, if nothing of that is on its way, the last turn.
    answered: Time,
    /// It was asked for delivery, and has not told of it yet.
    finishing: bool,
    met: bool,
    delivery: Delivery,
    /// An ended run goes at this time, whatever it still has to say.
    until: Option<Time>,
}

impl Guest {
    pub fn new(options: &Options) -> Guest {
        Guest {
            welcome: None,
            rooms: options.rooms.clone(),
            store: Store::view(View::new(Path::new(""), NetworkTag::OPEN, false)),
            outbox: Outbox::default(),
            opening: 0,
            looking: false,
            asked: Time(0),
            answered: Time(0),
            finishing: false,
            met: false,
            delivery: Delivery {
                linked: 0,
                holding: 0,
                needed: 0,
                lacking: false,
                settled: false,
                again: None,
            },
            until: None,
        }
    }

    /// Acts through the program at the other end. `None`: that ended.
    pub fn stay(
        &mut self,
        desk: &mut Desk,
        directory: &Path,
        stream: UnixStream,
        welcome: Welcome,
    ) -> Result<Option<u8>, Failure> {
        self.same_network(welcome.network)?;
        let history = directory.join("history");
        self.store = Store::view(View::new(&history, welcome.network, !welcome.prints));
        let (mut session, mut signals) = desk.sit(&welcome.me, welcome.age)?;
        // What is wrong with the list the running program has said.
        let known = State::unlocked(directory).known_peers(&mut Vec::new());
        for known in known.unwrap_or_default() {
            session.face.know(known.id, &known.nick);
        }
        let stream = mio::net::UnixStream::from_std(stream);
        let mut pipe = Pipe::new(stream, desk.poll.registry(), LINK)
            .map_err(|error| cannot("the socket cannot be used", &error))?;
        let (me, port) = (welcome.me.clone(), welcome.port);
        self.met = welcome.met;
        self.welcome = Some(welcome);
        self.outbox.drop_stored(&self.store, &me.id);
        self.asked = desk.clock.now().time;
        self.answered = self.asked;
        for place in &desk.options.peers {
            message::put_dial(&mut pipe.output, place);
        }
        self.begin(&mut session, &mut pipe);
        session.ready(port, &me, self.rooms.first());
        session.goal.through = true;
        let stayed = self.turns(desk, &mut session, &mut signals, &mut pipe);
        session.goal.through = false;
        let stayed = stayed.map_err(|error| cannot("the run had to end", &error))?;
        match stayed {
            Some(_) => session.close(&mut self.store, LAST),
            None => desk.seat = Some((session, signals)),
        }
        Ok(stayed)
    }

    /// It acted through a program.
    pub fn stayed(&self) -> bool {
        self.welcome.is_some()
    }

    /// A secret keeps what is said with those who know it, also when another program goes on with it.
    fn same_network(&self, network: NetworkTag) -> Result<(), Failure> {
        let before = self.welcome.as_ref().map(|welcome| welcome.network);
        if before.is_some_and(|before| before != network) {
            return Err(Failure::config(
                "the program that this one acted through is gone, and its network is another: give its --secret-file to go on",
            ));
        }
        Ok(())
    }

    /// What the program is to know first.
    fn begin(&mut self, session: &mut Session, pipe: &mut Pipe) {
        let out = &mut pipe.output;
        for room in &self.rooms {
            message::put(out, format_args!("join {room}"));
        }
        message::put(out, format_args!("direct"));
        self.opening = self.rooms.len() + 1;
        if session.prints() {
            message::put(out, format_args!("follow"));
        }
        self.outbox.begin(out);
        if std::mem::take(&mut self.looking) {
            session.take_over(vec![Command::Peers]);
        }
        self.delivery.settled = false;
        self.finishing = false;
        session.take_over(Vec::new());
    }

    fn turns(
        &mut self,
        desk: &mut Desk,
        session: &mut Session,
        signals: &mut Signals,
        pipe: &mut Pipe,
    ) -> io::Result<Option<u8>> {
        let mut events = Events::with_capacity(16);
        let mut now = desk.clock.now();
        loop {
            session.end_turn(&mut self.store)?;
            pipe.flush();
            if let Some(status) = self.over(session, now) {
                return Ok(Some(status));
            }
            let takes = self.takes();
            // Behind a reader who is looked for nothing else is done.
            let looks = self.outbox.asked().is_some();
            let pauses = self.opening > 0 || looks || session.goal.ended();
            let busy = pipe.readable || !pauses && session.busy(takes);
            let deadlines = match (self.asks(), self.outbox.asked()) {
                (true, _) => [None, self.until, Some(self.asked + PATIENCE)],
                (false, Some(asked)) => [None, self.until, Some(asked.until)],
                (false, None) => [self.deadline(session), self.until, None],
            };
            let least = deadlines.into_iter().flatten().min();
            let timeout = match least {
                _ if busy => Some(Duration::ZERO),
                least => least.map(|at| Duration::from_millis(at.since(now.time))),
            };
            match desk.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
                done => done?,
            }
            now = desk.clock.now();
            for event in &events {
                match event.token() {
                    SIGNALS => {
                        for signal in signals.pending() {
                            session.signal(signal);
                        }
                    }
                    LINK => pipe.event(event),
                    _ => {}
                }
            }
            if pipe.readable {
                pipe.read();
            }
            if !self.waits() {
                self.answered = now.time;
            }
            while let Some(told) = hear(pipe) {
                if matches!(told, Told::Accepted(..) | Told::Refused | Told::Found(_)) {
                    self.answered = now.time;
                }
                self.told(session, &mut pipe.output, told)?;
            }
            if pipe.ended {
                return Ok(None);
            }
            if session.goal.status().is_some() {
                continue;
            }
            session.take_in(now, takes);
            while self.opening == 0
                && self.outbox.asked().is_none()
                && let Some(command) = session.next_command(now.time)
            {
                self.command(session, pipe, command, now);
            }
            if !session.goal.ended() {
                session.look_back(now, &self.store, self.rooms.first());
            }
        }
    }

    /// An answer is due.
    fn asks(&self) -> bool {
        self.opening > 0 || self.looking
    }

    fn takes(&self) -> bool {
        self.opening == 0 && self.outbox.takes()
    }

    /// Something is on its way to the program, or its answer from there.
    fn waits(&self) -> bool {
        self.finishing || !self.outbox.is_empty()
    }

    /// When this run has waited long enough. The time for delivery is none for answers: a program may just be busy.
    fn deadline(&self, session: &Session) -> Option<Time> {
        let deadline = session.deadline();
        match self.waits() && !session.goal.ended() {
            false => deadline,
            true => deadline.map(|at| at.max(self.answered + PATIENCE)),
        }
    }

    fn over(&mut self, session: &mut Session, now: Now) -> Option<u8> {
        let late = |deadline: Option<Time>| deadline.is_some_and(|at| at <= now.time);
        // A script that quits right behind its last line means that to be said.
        if session.goal.is_cut() || late(self.until) {
            look_no_more(&mut self.outbox, session);
        }
        let stored = self.outbox.is_empty();
        let says = session.goal.status().is_none() && session.has_unsent_lines();
        if session.goal.ended() && (!stored || says) {
            let until = *self.until.get_or_insert(now.time + LINGER);
            if until > now.time {
                return None;
            }
        }
        let patience = self.deadline(session);
        let silent = match self.outbox.asked() {
            _ if self.asks() => self.asked + PATIENCE <= now.time,
            Some(asked) => asked.until <= now.time,
            None => !stored && late(patience),
        };
        if silent || !stored && late(self.until) {
            session.complain(
                "the program that runs in this directory does not answer: whether it has taken what was said last is not known",
            );
            session.goal.end(FAILED);
            // Nothing of it is waited for any more.
            self.outbox.clear();
            (self.opening, self.looking, self.until) = (0, false, None);
        }
        let asks = self.asks() || self.outbox.asked().is_some();
        if (asks || self.waits() && !late(patience)) && !session.goal.ended() {
            return None;
        }
        session.over(now, self.met, self.outbox.is_empty(), || self.delivery)
    }

    fn told(&mut self, session: &mut Session, out: &mut Vec<u8>, told: Told) -> io::Result<()> {
        match told {
            Told::Joined(folder, end) => {
                self.opening = self.opening.saturating_sub(1);
                self.store.open_view(&folder, end);
                session.open(&self.store, &folder);
                session.end_turn(&mut self.store)?;
            }
            Told::Unjoined(room) => {
                self.opening = self.opening.saturating_sub(1);
                session.goal.refuse();
                self.left(session, &room);
            }
            Told::Parted(room) => {
                self.opening = self.opening.saturating_sub(1);
                session.transcript.close(&(&room).into());
            }
            Told::End(folder, end) => {
                self.store.reaches(&folder, end);
                if session.prints() {
                    session.transcript.behind();
                    session.end_turn(&mut self.store)?;
                }
            }
            Told::Known(peer) => session.face.know(peer.id, &peer.nick),
            Told::Accepted(log, sequence) => self.outbox.accepted(log, sequence),
            Told::Refused => {
                self.outbox.refused();
                session.goal.refuse();
            }
            Told::Found(reader) => self.outbox.found(out, &self.store, reader),
            Told::Lost(code, content) => {
                self.outbox.lost();
                // If nothing else was said, there is nothing to be waited for.
                self.delivery.settled = self.outbox.was_unused();
                session.notice(Notice::Error { code, content }, &self.store);
            }
            Told::Delivery { met, delivery } => {
                self.finishing = false;
                self.met |= met;
                self.delivery = delivery;
                if delivery.settled && self.outbox.is_empty() {
                    session.goal.settled();
                }
            }
            Told::Peers(count, list) => {
                self.looking = false;
                session.peers(count, list);
            }
            Told::Stats(list) => session.table(list),
            Told::Notice(notice) => {
                if let (Notice::Renamed { peer, .. }, Some(welcome)) = (&notice, &mut self.welcome)
                    && peer.id == welcome.me.id
                {
                    welcome.me.nick = peer.nick.clone();
                }
                session.notice(notice, &self.store);
            }
            Told::Welcome(_) => {}
        }
        Ok(())
    }

    fn command(&mut self, session: &mut Session, pipe: &mut Pipe, command: Command, now: Now) {
        let out = &mut pipe.output;
        match command {
            Command::Say {
                room,
                lines,
                action,
            } => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) if self.rooms.contains(&room) => {
                    let target = Target::Room(room);
                    self.outbox.say(out, &self.store, target, lines, action);
                }
                Some(room) => refuse(
                    session,
                    &self.store,
                    format!("not in {room}: /join {room} first"),
                ),
                None => refuse(session, &self.store, "in no room: /join one first".into()),
            },
            Command::Join(room) => {
                if !self.rooms.contains(&room) {
                    message::put(out, format_args!("join {room}"));
                    self.opening += 1;
                    self.asked = now.time;
                }
                self.rooms.retain(|other| *other != room);
                self.rooms.insert(0, room);
                session.speak_in(self.rooms.first());
            }
            Command::Part(room) => match room.or_else(|| self.rooms.first().cloned()) {
                Some(room) if self.rooms.contains(&room) => {
                    // What was said there is still to be shown.
                    message::put(out, format_args!("part {room}"));
                    self.opening += 1;
                    self.asked = now.time;
                    self.left(session, &room);
                }
                Some(room) => refuse(session, &self.store, format!("not in {room}")),
                None => refuse(session, &self.store, "in no room".into()),
            },
            Command::Nick(nick) => message::put(out, format_args!("nick {nick}")),
            Command::Peers => {
                let form = session.form().as_str();
                message::put(out, format_args!("peers {form}"));
                (self.looking, self.asked) = (true, now.time);
            }
            Command::Stats => {
                let form = session.form().as_str();
                message::put(out, format_args!("stats {form}"));
            }
            Command::Rooms => session.notice(Notice::Rooms(self.rooms.clone()), &self.store),
            Command::Finish { need } => {
                match need {
                    Some(need) => message::put(out, format_args!("finish {need}")),
                    None => message::put(out, format_args!("finish all")),
                }
                self.finishing = true;
            }
            Command::Tell {
                whom,
                lines,
                action,
                within,
            } => {
                let until = now.time + within + PATIENCE;
                let asked = Asked {
                    whom,
                    lines,
                    action,
                    within,
                    until,
                };
                self.outbox.ask(out, asked);
            }
            Command::Shown { log, sequence } => {
                message::put(out, format_args!("shown {} {sequence}", Log(&log)));
            }
            Command::Find { .. } | Command::Await { .. } | Command::Leave => {}
        }
    }

    fn left(&mut self, session: &mut Session, room: &Room) {
        self.rooms.retain(|other| other != room);
        session.speak_in(self.rooms.first());
    }

    /// Until the next try to come in. The status, if the run ended meanwhile.
    pub fn nap(&mut self, desk: &mut Desk) -> Result<Option<u8>, Failure> {
        let mut events = Events::with_capacity(16);
        let polled = desk
            .poll
            .poll(&mut events, Some(Duration::from_millis(RETRY)));
        match polled {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(cannot("the run had to end", &error));
            }
            _ => {}
        }
        let Some((session, signals)) = &mut desk.seat else {
            return Ok(None);
        };
        for signal in signals.pending() {
            session.signal(signal);
        }
        look_no_more(&mut self.outbox, session);
        if !session.goal.ended() || !self.outbox.is_empty() {
            return Ok(None);
        }
        session
            .end_turn(&mut self.store)
            .map_err(|error| cannot("the run had to end", &error))?;
        let status = session.over(desk.clock.now(), self.met, true, || self.delivery);
        if status.is_some() {
            session.close(&mut self.store, LAST);
        }
        Ok(status)
    }

    /// The directory is this run's own now: what is not done yet it does itself.
    pub fn hand_over(&mut self, desk: &mut Desk, network: NetworkTag) -> Result<(), Failure> {
        let Some(welcome) = self.welcome.clone() else {
            return Ok(());
        };
        self.same_network(network)?;
        self.outbox.drop_stored(&self.store, &welcome.me.id);
        desk.options.username = welcome.me.nick;
        desk.options.multicast = welcome.multicast;
        desk.options.interfaces = welcome.interfaces;
        desk.options.rooms = self.rooms.clone();
        let mut commands = self.outbox.take();
        if self.looking {
            commands.push(Command::Peers);
        }
        if let Some((session, _)) = &mut desk.seat {
            session.take_over(commands);
        }
        Ok(())
    }
}

/// The next thing told. What nobody understands ends it.
fn hear(pipe: &mut Pipe) -> Option<Told> {
    match Message::take(&mut pipe.input, ANSWER_MAX) {
        Ok(None) => None,
        Ok(Some(message)) => match message.told() {
            Some(told) => Some(told),
            None => {
                pipe.end();
                None
            }
        },
        Err(_) => {
            pipe.end();
            None
        }
    }
}

/// An ended run waits for no reader.
fn look_no_more(outbox: &mut Outbox, session: &mut Session) {
    if session.goal.ended()
        && let Some(asked) = outbox.lost()
    {
        session.goal.refuse();
        session.complain(&format!("not sent to {}: not found yet", asked.whom));
    }
}

fn refuse(session: &mut Session, store: &Store, content: String) {
    let code = "room";
    session.notice(Notice::Error { code, content }, store);
}

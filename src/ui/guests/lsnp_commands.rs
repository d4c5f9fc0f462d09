//! The commands of LSNP's users: POST, DM, PROFILE, LIST, VERBOSE and QUIT, in capitals at the
//! beginning of a line. What such a line leaves out is asked for.
use crate::base::event::command::Command;
use crate::base::guests::guest::GuestNetwork;
use crate::base::guests::lsnp::LsnpRequest;
use crate::base::name::GUEST_PREFIX;
use crate::base::presence::profile::{DISPLAY_NAME_FIELD, STATUS_FIELD};
use crate::base::text::line_form::LineForm;
use crate::ui::command::{
    UserCommand, build_direct_message, build_room_message, parse_lsnp_request,
};
use crate::ui::profile::profile_command::format_picture;

/// What a typed line is to a user of LSNP.
#[derive(Debug, PartialEq, Eq)]
pub enum LsnpLine {
    /// It is no command of LSNP, and no answer to a question.
    Other,
    /// Show this question. The next line is the answer.
    Question(&'static str),
    /// Execute the typed command `request`, with the picture in the file as its last field.
    Picture {
        /// The beginning of the command.
        request: String,
        /// The path of the file.
        file: String,
    },
    /// Execute this command. The error is a sentence for the user.
    Command(Result<UserCommand, String>),
}

/// What the next line answers.
enum Awaited {
    PostText,
    Recipient,
    DirectText(String),
    DisplayName,
    Status(String),
    Picture(String),
}

/// Understands the commands of LSNP's users, and what they were asked for.
#[derive(Default)]
pub struct LsnpCommands(Option<Awaited>);

impl LsnpCommands {
    /// Whether the next line is the answer to a question.
    pub fn is_asking(&self) -> bool {
        self.0.is_some()
    }

    /// Handles a typed line.
    pub fn handle_line(&mut self, line: &str) -> LsnpLine {
        if let Some(awaited) = self.0.take() {
            // A command cancels a question, except for a file, whose path may begin like one. An
            // empty line cancels a question for a text. In a profile, nothing is an answer.
            let is_text = matches!(
                awaited,
                Awaited::PostText | Awaited::Recipient | Awaited::DirectText(_)
            );
            let is_path = matches!(awaited, Awaited::Picture(_));
            let is_cancelled =
                line.starts_with('/') && !is_path || is_text && line.trim().is_empty();
            return match is_cancelled {
                true => LsnpLine::Other,
                false => self.handle_answer(awaited, line),
            };
        }
        let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
        match (word, argument.trim()) {
            ("POST", "") => self.ask(Awaited::PostText),
            ("POST", text) => post(text),
            ("DM", "") => self.ask(Awaited::Recipient),
            ("DM", argument) => match argument.split_once(' ') {
                Some((name, text)) => direct(name, text),
                None => self.ask(Awaited::DirectText(argument.to_owned())),
            },
            ("PROFILE", "") => self.ask(Awaited::DisplayName),
            ("PROFILE", argument) => match argument.splitn(3, '|').collect::<Vec<_>>()[..] {
                [name, status, file] if !file.trim().starts_with("data:") => {
                    picture(&format!("{name}|{status}"), file)
                }
                _ => request(line),
            },
            ("LIST" | "VERBOSE", "") => request(word),
            ("QUIT", "") => LsnpLine::Command(Ok(UserCommand::Quit)),
            _ => LsnpLine::Other,
        }
    }

    fn handle_answer(&mut self, awaited: Awaited, line: &str) -> LsnpLine {
        match awaited {
            Awaited::PostText => post(line),
            Awaited::Recipient => self.ask(Awaited::DirectText(line.trim().to_owned())),
            Awaited::DirectText(name) => direct(&name, line),
            Awaited::DisplayName => self.ask(Awaited::Status(line.replace('|', " "))),
            Awaited::Status(name) => self.ask(Awaited::Picture(format!(
                "{name}|{}",
                line.replace('|', " ")
            ))),
            Awaited::Picture(profile) => picture(&profile, line),
        }
    }

    fn ask(&mut self, awaited: Awaited) -> LsnpLine {
        let question = match &awaited {
            Awaited::PostText => "POST: what do you say to all?",
            Awaited::Recipient => "DM: to whom?",
            Awaited::DirectText(_) => "DM: what do you say?",
            Awaited::DisplayName => "PROFILE: under which name are you shown?",
            Awaited::Status(_) => "PROFILE: what is your status?",
            Awaited::Picture(_) => "PROFILE: which file has your picture? (none: -)",
        };
        self.0 = Some(awaited);
        LsnpLine::Question(question)
    }
}

fn post(text: &str) -> LsnpLine {
    let room = Some(GuestNetwork::Lsnp.room());
    LsnpLine::Command(build_room_message(room, text, LineForm::Text))
}

fn direct(name: &str, text: &str) -> LsnpLine {
    let name = match name.starts_with(GUEST_PREFIX) {
        true => name.to_owned(),
        false => format!("{GUEST_PREFIX}{name}"),
    };
    LsnpLine::Command(build_direct_message(
        &name,
        text.trim_start(),
        LineForm::Text,
    ))
}

/// A profile with the picture in a file. `-` and nothing mean none.
fn picture(profile: &str, file: &str) -> LsnpLine {
    match file.trim() {
        "" | "-" => request(&format!("PROFILE {profile}")),
        file => LsnpLine::Picture {
            request: format!("/lsnp PROFILE {profile}"),
            file: file.to_owned(),
        },
    }
}

fn request(line: &str) -> LsnpLine {
    let request = parse_lsnp_request(line);
    LsnpLine::Command(request.map(|request| UserCommand::Core(Command::Lsnp(request))))
}

/// The request as a user types it.
pub fn format_request(request: &LsnpRequest) -> String {
    match request {
        LsnpRequest::Profile(profile) => {
            let field = |name| profile.get(name).replace('|', " ");
            let (name, status) = (field(DISPLAY_NAME_FIELD), field(STATUS_FIELD));
            let picture = profile.avatar.as_ref().map(format_picture);
            let picture = picture.map_or_else(String::new, |url| format!("|{url}"));
            format!("/lsnp PROFILE {name}|{status}{picture}")
        }
        LsnpRequest::List => "/lsnp LIST".to_owned(),
        LsnpRequest::Verbose => "/lsnp VERBOSE".to_owned(),
    }
}

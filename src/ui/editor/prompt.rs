//! What the prompt says, and the title of the terminal.
use crate::base::identity::PeerId;
use crate::base::name::{Room, Target};

/// Longest title, in characters.
const TITLE_MAX_CHARS: usize = 80;
/// Maximum number of peers that are counted as typing.
const TYPING_MAX: usize = 16;

/// A peer that types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingPeer {
    /// The peer.
    pub id: PeerId,
    /// Its name, with `~abcd` if the name alone could mislead.
    pub name: String,
    /// Where its line will go.
    pub target: Target,
}

/// What the user sees before the line that he types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// The room to which lines go. `None`: the user is in no room.
    pub room: Option<Room>,
    /// How many others are in the room.
    pub others_here: u64,
    /// How many direct messages came since the user entered the last line.
    pub unread: u64,
    /// Who is typing, and for whom.
    pub typing: Vec<TypingPeer>,
}

impl Prompt {
    /// The text before the edited line: `#ops 3 (2 unread)> ` in a room of three, with us. Each
    /// further text is shorter and says less, for narrow screens.
    pub fn texts(&self) -> Vec<String> {
        let silent = Prompt {
            typing: Vec::new(),
            ..self.clone()
        };
        let read = Prompt {
            unread: 0,
            ..silent.clone()
        };
        let alone = Prompt {
            others_here: 0,
            ..read.clone()
        };
        let by_rank = [self, &silent, &read, &alone];
        by_rank.map(|it| format!("{}> ", it.state())).into()
    }

    /// The title of the terminal.
    pub fn title(&self) -> String {
        let title = format!("p2pchat {}", self.state());
        title.chars().take(TITLE_MAX_CHARS).collect()
    }

    fn state(&self) -> String {
        let mut state = self.room.as_ref().map_or(String::new(), Room::to_string);
        if self.room.is_some() && self.others_here > 0 {
            state += &format!(" {}", self.others_here.saturating_add(1));
        }
        let notes = self.notes();
        if !notes.is_empty() {
            let blank = if state.is_empty() { "" } else { " " };
            state += &format!("{blank}({})", notes.join(", "));
        }
        state
    }

    /// Records that a peer types, or no longer does.
    pub fn set_typing(&mut self, peer: TypingPeer, is_typing: bool) {
        self.typing.retain(|other| other.id != peer.id);
        if is_typing && self.typing.len() < TYPING_MAX {
            self.typing.push(peer);
        }
    }

    /// Who types in this room, or a direct message.
    fn typing_note(&self) -> Option<String> {
        let is_shown = |target: &Target| {
            target
                .room()
                .is_none_or(|it| Some(it) == self.room.as_ref())
        };
        let shown = self.typing.iter().filter(|it| is_shown(&it.target));
        let names: Vec<&str> = shown.map(|it| &*it.name).collect();
        match &names[..] {
            [] => None,
            [name] => Some(format!("{name} is typing")),
            [name, other] => Some(format!("{name} and {other} are typing")),
            names => Some(format!("{} are typing", names.len())),
        }
    }

    /// What else the user should know. Each note stands in the parentheses.
    fn notes(&self) -> Vec<String> {
        let unread = (self.unread > 0).then(|| format!("{} unread", self.unread));
        unread.into_iter().chain(self.typing_note()).collect()
    }
}

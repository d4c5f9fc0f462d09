//! Executes commands about known peers: changes the file `known_peers`. The program that runs in
//! the directory does so, or a command that has locked the directory. With --ephemeral, the program
//! changes what it remembers.
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, PeerSelector};
use crate::base::text::bound_name::quote_for_shell;
use crate::base::time::WallTime;
use crate::base::trust::fingerprint::Fingerprint;
use crate::base::trust::level::TrustLevel;
use crate::node::acquaintances::familiarity_of;
use crate::node::membership::known_peers::{KnownPeers, ResolvedPeer, ambiguity_message};
use crate::shell::state::ignored_file::IGNORED_MAX;
use crate::shell::state::trust_files::TrustFiles;
use crate::ui::trust_command::{TrustCommand, TrustEntry, TrustState};
use crate::wire::code::parse_peer;

/// What a command about known peers needs to know beside the file.
#[derive(Default)]
pub struct TrustSurroundings {
    /// Our key, if it is known.
    pub own_id: Option<PeerId>,
    /// The peers that are linked or reachable through others.
    pub present: Vec<Peer>,
    /// Those of them whose keys end with their programs.
    pub ephemeral: Vec<PeerId>,
    /// The wall time.
    pub now: WallTime,
}

/// Executes a command. Returns the peers that it lists or has changed. `files`: where it is stored
/// who is known.
///
/// # Errors
/// The command is refused. [`ErrorCode::WrongKey`]: the fingerprint is not that of the peer.
pub fn execute_trust(
    files: &TrustFiles,
    command: &TrustCommand,
    around: &TrustSurroundings,
) -> Result<Vec<TrustEntry>, Refusal> {
    let known = files
        .read_known_peers(&mut Vec::new())
        .map_err(|failure| refuse(ErrorCode::Failed, failure.message))?;
    let executed = execute(files, known, command, around);
    executed.map(|entries| entries.into_iter().map(|it| rate(it, around.now)).collect())
}

/// Says how well the key of an entry is known.
fn rate(mut entry: TrustEntry, now: WallTime) -> TrustEntry {
    let level = match entry.state {
        TrustState::Known(level) => level,
        _ => entry.known.trust,
    };
    entry.familiarity = familiarity_of(level, entry.known.first_seen, now);
    entry
}

fn execute(
    files: &TrustFiles,
    known: Vec<KnownPeer>,
    command: &TrustCommand,
    around: &TrustSurroundings,
) -> Result<Vec<TrustEntry>, Refusal> {
    let edit = TrustEdit {
        files,
        known,
        around,
    };
    match command {
        TrustCommand::List => edit.list(),
        TrustCommand::Add { nick, key } => edit.bind(nick, parse_key(key)?, TrustLevel::Bound),
        TrustCommand::Bind(selector) => match edit.resolve(selector)? {
            // The user accepts the key that is present.
            ResolvedPeer::Unique(peer) | ResolvedPeer::KeyMismatch { peer, .. } => {
                edit.bind(&peer.nick, peer.id, TrustLevel::Bound)
            }
            ResolvedPeer::Ambiguous(peers) => Err(ambiguous(selector, &peers)),
            ResolvedPeer::NotFound => Err(unknown(selector)),
        },
        TrustCommand::Whois { selector, .. } => edit.describe(selector),
        TrustCommand::Forget(selector) => edit.forget(selector),
        TrustCommand::Ban(selector) => edit.ban(selector),
        TrustCommand::Unban(selector) => edit.unban(selector),
        TrustCommand::Ignore(selector) => edit.ignore(selector.as_ref()),
        TrustCommand::Unignore(selector) => edit.unignore(selector),
        TrustCommand::Verify {
            selector,
            fingerprint,
        } => edit.verify(selector, fingerprint.as_ref()),
    }
}

/// One execution.
struct TrustEdit<'a> {
    files: &'a TrustFiles,
    known: Vec<KnownPeer>,
    around: &'a TrustSurroundings,
}

impl TrustEdit<'_> {
    /// The known peers, and then the ignored ones.
    fn list(&self) -> Result<Vec<TrustEntry>, Refusal> {
        let known = self.known.iter().cloned();
        let mut entries: Vec<TrustEntry> = known.map(TrustEntry::from).collect();
        entries.extend(self.ignore(None)?);
        Ok(entries)
    }

    /// The only key that the selector may mean, bound to its name or not. A key that is given by
    /// its id needs no name.
    fn resolve_key(&self, selector: &PeerSelector) -> Result<Peer, Refusal> {
        let known = KnownPeers::new(self.known.clone());
        let candidates = known.candidates(selector, &self.around.present);
        let peer = match (&candidates[..], selector.full_id()) {
            ([peer], _) => peer.clone(),
            ([], Some(id)) => Peer {
                id,
                nick: Nick::new_or_placeholder(""),
            },
            ([], None) => return Err(unknown(selector)),
            (peers, _) => return Err(ambiguous(selector, peers)),
        };
        match self.around.own_id == Some(peer.id) {
            true => Err(refuse(ErrorCode::Target, "that is you".to_owned())),
            false => Ok(peer),
        }
    }

    /// The peer that the selector means.
    fn resolve(&self, selector: &PeerSelector) -> Result<ResolvedPeer, Refusal> {
        let known = KnownPeers::new(self.known.clone());
        match known.resolve(selector, &self.around.present) {
            ResolvedPeer::Unique(peer) if peer.nick.as_str() == "?" => Err(refuse(
                ErrorCode::Target,
                format!(
                    "no name of {} is known: trust add NAME {}",
                    peer.id, peer.id
                ),
            )),
            resolved => Ok(resolved),
        }
    }

    /// Binds the name to the key. From now on it means no other key. A verified key gives way only
    /// to another one that is verified.
    fn bind(&self, nick: &Nick, id: PeerId, trust: TrustLevel) -> Result<Vec<TrustEntry>, Refusal> {
        if self.around.own_id == Some(id) {
            return Err(refuse(ErrorCode::Target, "that is you".to_owned()));
        }
        if self.around.ephemeral.contains(&id) {
            return Err(refuse(
                ErrorCode::Target,
                format!("{nick} is not bound: its key ends with its program (--ephemeral)"),
            ));
        }
        let is_ban = |known: &KnownPeer| known.id == id && known.trust == TrustLevel::Banned;
        if self.known.iter().any(is_ban) {
            return Err(refuse(
                ErrorCode::Target,
                format!("{nick} is banned: trust unban @{id} first"),
            ));
        }
        let lower = nick.as_str().to_lowercase();
        let is_other =
            |known: &KnownPeer| known.id != id && known.nick.as_str().to_lowercase() == lower;
        let mut verified = self.known.iter();
        let verified = verified.find(|it| is_other(it) && it.trust == TrustLevel::Verified);
        if let Some(other) = verified.filter(|_| trust < TrustLevel::Verified) {
            let (name, short) = (quote_for_shell(nick.as_str()), other.id.short());
            return Err(refuse(
                ErrorCode::WrongKey,
                format!(
                    "{nick} is not bound to {id}: you have verified {nick}~{short}; compare the \
                     fingerprint: p2pchat trust verify {name}~{} FINGERPRINT; or forget the \
                     verified key first: p2pchat trust forget {name}~{short}",
                    id.short()
                ),
            ));
        }
        let of_key = |known: &&KnownPeer| known.nick == *nick && known.id == id;
        let earlier = self.known.iter().find(of_key);
        let entry = KnownPeer {
            nick: nick.clone(),
            id,
            first_seen: earlier.map_or(self.around.now, |known| known.first_seen),
            trust: earlier.map_or(trust, |known| known.trust.max(trust)),
        };
        self.edit(
            &|known| {
                let mut changed = known.clone();
                if of_key(&known) {
                    changed.trust = entry.trust;
                } else if is_other(known) {
                    changed.trust = TrustLevel::Seen;
                }
                Some(changed)
            },
            Some(&entry).filter(|_| earlier.is_none()),
        )?;
        Ok(vec![entry.into()])
    }

    /// Bans one key, under all its names.
    fn ban(&self, selector: &PeerSelector) -> Result<Vec<TrustEntry>, Refusal> {
        let peer = self.resolve_key(selector)?;
        let mut entry = self.entry_of(&peer);
        entry.trust = TrustLevel::Banned;
        let ban = |known: &KnownPeer| {
            let mut changed = known.clone();
            if known.id == peer.id {
                changed.trust = TrustLevel::Banned;
            }
            Some(changed)
        };
        let is_listed = self.known.iter().any(|known| known.id == peer.id);
        self.edit(&ban, Some(&entry).filter(|_| !is_listed))?;
        Ok(vec![entry.into()])
    }

    /// Ends the ban of one key, under all its names. How far the names were trusted before the ban
    /// is not stored: they are seen ones.
    fn unban(&self, selector: &PeerSelector) -> Result<Vec<TrustEntry>, Refusal> {
        let is_banned = |known: &&KnownPeer| known.trust == TrustLevel::Banned;
        let banned = self.known.iter().filter(is_banned);
        let mut peers: Vec<Peer> = Vec::new();
        for known in banned.filter(|it| selector.matches(&it.nick, &it.id)) {
            if peers.iter().all(|peer| peer.id != known.id) {
                peers.push(peer_of(known));
            }
        }
        let id = match &peers[..] {
            [] => {
                let sentence = format!("{selector} is not banned");
                return Err(refuse(ErrorCode::Target, sentence));
            }
            [peer] => peer.id,
            peers => return Err(ambiguous(selector, peers)),
        };
        // A key that was banned by its id has no name to be known by.
        let unban = |known: &KnownPeer| match known.id == id && is_banned(&known) {
            true => (known.nick.as_str() != "?").then(|| KnownPeer {
                trust: TrustLevel::Seen,
                ..known.clone()
            }),
            false => Some(known.clone()),
        };
        self.edit(&unban, None)?;
        let of_key = self
            .known
            .iter()
            .filter(|known| known.id == id && is_banned(known));
        let entries = of_key.map(|known| match unban(known) {
            Some(unbanned) => unbanned.into(),
            None => TrustEntry::new(known.clone(), TrustState::Forgotten),
        });
        Ok(entries.collect())
    }

    /// Ignores the lines of one key. Without a selector, lists the ignored keys.
    fn ignore(&self, selector: Option<&PeerSelector>) -> Result<Vec<TrustEntry>, Refusal> {
        let mut ignored = self.ignored()?;
        let Some(selector) = selector else {
            let entries = ignored.iter();
            return Ok(entries
                .map(|peer| self.ignored_entry(peer, TrustState::Ignored))
                .collect());
        };
        let peer = self.resolve_key(selector)?;
        if ignored.iter().all(|other| other.id != peer.id) {
            if ignored.len() >= IGNORED_MAX {
                let sentence = format!("{IGNORED_MAX} are ignored already: unignore some");
                return Err(refuse(ErrorCode::Failed, sentence));
            }
            ignored.push(peer.clone());
            self.write_ignored(&ignored)?;
        }
        Ok(vec![self.ignored_entry(&peer, TrustState::Ignored)])
    }

    /// Ends that the lines of a key are ignored.
    fn unignore(&self, selector: &PeerSelector) -> Result<Vec<TrustEntry>, Refusal> {
        let mut ignored = self.ignored()?;
        let present = self.around.present.iter();
        let named = present.filter(|peer| selector.matches(&peer.nick, &peer.id));
        let named: Vec<PeerId> = named.map(|peer| peer.id).collect();
        // By the name of then, or that of now.
        let is_meant = |it: &Peer| selector.matches(&it.nick, &it.id) || named.contains(&it.id);
        let meant: Vec<Peer> = ignored.iter().filter(|it| is_meant(it)).cloned().collect();
        let [peer] = &meant[..] else {
            return Err(match meant.is_empty() {
                true => refuse(ErrorCode::Target, format!("{selector} is not ignored")),
                false => ambiguous(selector, &meant),
            });
        };
        ignored.retain(|other| other.id != peer.id);
        self.write_ignored(&ignored)?;
        Ok(vec![self.ignored_entry(peer, TrustState::Unignored)])
    }

    fn ignored_entry(&self, peer: &Peer, state: TrustState) -> TrustEntry {
        let known = self.entry_of(peer);
        TrustEntry::new(known, state)
    }

    fn ignored(&self) -> Result<Vec<Peer>, Refusal> {
        let ignored = self.files.read_ignored();
        ignored.map_err(|error| refuse(ErrorCode::Failed, error.to_string()))
    }

    fn write_ignored(&self, ignored: &[Peer]) -> Result<(), Refusal> {
        let written = self.files.write_ignored(ignored);
        written.map_err(|error| refuse(ErrorCode::Failed, format!("nothing was changed: {error}")))
    }

    /// Forgets one peer, under all its names that the selector matches.
    fn forget(&self, selector: &PeerSelector) -> Result<Vec<TrustEntry>, Refusal> {
        let matches = |known: &&KnownPeer| selector.matches(&known.nick, &known.id);
        let mut peers: Vec<Peer> = Vec::new();
        for known in self.known.iter().filter(matches) {
            if !peers.iter().any(|peer| peer.id == known.id) {
                peers.push(peer_of(known));
            }
        }
        let id = match &peers[..] {
            [] => return Err(unknown(selector)),
            [peer] => peer.id,
            peers => return Err(ambiguous(selector, peers)),
        };
        // A key with a banned name left would stay banned.
        let is_forgotten = |known: &&KnownPeer| {
            known.id == id && (matches(known) || known.trust == TrustLevel::Banned)
        };
        self.edit(
            &|known| (!is_forgotten(&known)).then(|| known.clone()),
            None,
        )?;
        let forgotten = self
            .known
            .iter()
            .filter(is_forgotten)
            .map(|known| TrustEntry::new(known.clone(), TrustState::Forgotten));
        Ok(forgotten.collect())
    }

    /// Compares a fingerprint with those of the peers that the selector may mean. Without one,
    /// returns the peers to compare.
    fn verify(
        &self,
        selector: &PeerSelector,
        fingerprint: Option<&Fingerprint>,
    ) -> Result<Vec<TrustEntry>, Refusal> {
        let (peers, bound) = match self.resolve(selector)? {
            ResolvedPeer::Unique(peer) => (vec![peer], None),
            ResolvedPeer::KeyMismatch { peer, bound } => (vec![peer], Some(bound)),
            ResolvedPeer::Ambiguous(peers) => (peers, None),
            ResolvedPeer::NotFound => return Err(unknown(selector)),
        };
        let Some(fingerprint) = fingerprint else {
            return Ok(peers
                .iter()
                .map(|peer| self.entry_of(peer).into())
                .collect());
        };
        let is_read = |id: &PeerId| Fingerprint::of(id) == *fingerprint;
        let bound = bound.filter(is_read);
        match peers
            .iter()
            .find(|peer| is_read(&peer.id) || bound.is_some())
        {
            Some(peer) => self.bind(&peer.nick, bound.unwrap_or(peer.id), TrustLevel::Verified),
            None if peers.len() > 1 => Err(ambiguous(selector, &peers)),
            None => Err(refuse(
                ErrorCode::WrongKey,
                format!(
                    "WARNING: THE FINGERPRINT IS NOT that of {}: another key, or another person; \
                     nothing was changed",
                    peers.first().map_or_else(String::new, Peer::to_string)
                ),
            )),
        }
    }

    /// Returns what is known of the peer that the selector means. If its key has changed, returns
    /// the present key and the bound one.
    fn describe(&self, selector: &PeerSelector) -> Result<Vec<TrustEntry>, Refusal> {
        let (peer, bound) = match self.resolve(selector)? {
            ResolvedPeer::Unique(peer) => (peer, None),
            ResolvedPeer::KeyMismatch { peer, bound } => (peer, Some(bound)),
            ResolvedPeer::Ambiguous(peers) => return Err(ambiguous(selector, &peers)),
            ResolvedPeer::NotFound => return Err(unknown(selector)),
        };
        let bound = bound.map(|id| Peer {
            id,
            nick: peer.nick.clone(),
        });
        let peers = [Some(&peer), bound.as_ref()].into_iter().flatten();
        Ok(peers.map(|peer| self.entry_of(peer).into()).collect())
    }

    /// What is known of a peer under its present name.
    fn entry_of(&self, peer: &Peer) -> KnownPeer {
        let mut known = self.known.iter();
        let known = known.find(|known| known.id == peer.id && known.nick == peer.nick);
        known.cloned().unwrap_or_else(|| KnownPeer {
            nick: peer.nick.clone(),
            id: peer.id,
            first_seen: self.around.now,
            trust: TrustLevel::Seen,
        })
    }

    fn edit(
        &self,
        change: &dyn Fn(&KnownPeer) -> Option<KnownPeer>,
        added: Option<&KnownPeer>,
    ) -> Result<(), Refusal> {
        let why = match self.files.edit_known_peers(change, added) {
            Ok(true) => return Ok(()),
            Ok(false) => "it is full: trust forget some".to_owned(),
            Err(error) => error.to_string(),
        };
        let path = self.files.describe("known_peers");
        Err(refuse(
            ErrorCode::Failed,
            format!("{path}: nothing was changed: {why}"),
        ))
    }
}

/// Parses an id or a connection code.
fn parse_key(text: &str) -> Result<PeerId, Refusal> {
    let id = text.strip_prefix('@').unwrap_or(text).parse().ok();
    let of_code = || {
        let endpoints = parse_peer(text).map_err(|error| error.to_string())?;
        let id = endpoints.first().and_then(|endpoint| endpoint.peer);
        id.ok_or_else(|| "is neither an id nor a code, as `p2pchat whoami` shows them".to_owned())
    };
    let id = id.map_or_else(of_code, Ok);
    let id = id.and_then(|id: PeerId| match id.verifying_key() {
        Some(_) => Ok(id),
        None => Err("is no key".to_owned()),
    });
    id.map_err(|why| refuse(ErrorCode::InvalidLine, format!("{text} {why}")))
}

fn refuse(code: ErrorCode, content: String) -> Refusal {
    Refusal { code, content }
}

fn unknown(selector: &PeerSelector) -> Refusal {
    refuse(
        ErrorCode::Target,
        format!(
            "{selector} is nobody known; `p2pchat trust list` lists who is, and @ID means a key that \
             has left no name, as `p2pchat peers` or --json show it"
        ),
    )
}

fn ambiguous(selector: &PeerSelector, peers: &[Peer]) -> Refusal {
    let candidates = ambiguity_message(peers);
    refuse(ErrorCode::Target, format!("{selector} {candidates}"))
}

fn peer_of(known: &KnownPeer) -> Peer {
    Peer {
        id: known.id,
        nick: known.nick.clone(),
    }
}

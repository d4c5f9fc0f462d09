//! Profiles of linked peers: what each says about itself. A profile comes over the link of its
//! owner, and only on request, to who does not have it yet.
//!
//! Nobody forwards a profile, so nobody can speak for another. A picture comes in parts, each on a
//! request of its own: lines of chat wait for one part at most.
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::presence::profile::{HAS_PROFILE, PROFILE_FIELDS_MAX, Profile, ProfileCommand};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::Message;
use crate::wire::profile::messages::{ProfileReply, ProfileRequest};

/// How long a peer may take to answer, in milliseconds. Programs without profiles never answer.
const PROFILE_TIMEOUT_MS: u64 = 3_000;
/// How long a fetch may take at most, in milliseconds, however often users request it. The profile
/// and the parts of the largest picture are 12 answers.
const PROFILE_FETCH_MAX_MS: u64 = 40_000;

/// A profile that our user waits for.
struct Fetch {
    deadline: Time,
    /// The latest deadline.
    ends_at: Time,
    wants_avatar: bool,
}

impl Fetch {
    /// Waits for another answer, after a request of our user or an answer of use.
    fn extend(&mut self, now: Time) {
        self.deadline = self.ends_at.min(now + PROFILE_TIMEOUT_MS);
    }
}

/// The profiles that our user waits for.
#[derive(Default)]
pub struct Profiles {
    /// Only linked peers.
    fetches: SortedMap<PeerId, Fetch>,
}

impl Profiles {
    /// Requests the profile of a linked peer, or only whether it has changed; and its picture.
    pub fn fetch(&mut self, ctx: &mut Context, peer: PeerId, wants_avatar: bool) {
        let now = ctx.now.time;
        let stream = ctx.stream_by_peer.get(&peer).filter(|_| HAS_PROFILE);
        let Some(stream) = stream.copied() else {
            return;
        };
        let Some(link) = ctx.links.get_mut(&stream) else {
            return;
        };
        let fetch = self.fetches.get_or_insert_with(peer, || Fetch {
            deadline: now,
            ends_at: now + PROFILE_FETCH_MAX_MS,
            wants_avatar,
        });
        fetch.extend(now);
        fetch.wants_avatar |= wants_avatar;
        if link.profile.is_fresh(now) {
            return self.continue_fetch(ctx, stream);
        }
        let request = link.profile.request();
        ctx.send(stream, &Message::ProfileRequest(request));
    }

    /// Whether our user still waits for the profile of this peer.
    pub fn is_fetching(&self, peer: &PeerId) -> bool {
        self.fetches.contains_key(peer)
    }

    /// Requests the next part of the picture. If none is missing or wanted, the fetch ends.
    fn continue_fetch(&mut self, ctx: &mut Context, stream: StreamId) {
        let Some(link) = ctx.links.get_mut(&stream) else {
            return;
        };
        let peer = link.peer.id;
        let Some(fetch) = self.fetches.get_mut(&peer) else {
            return;
        };
        let wants_avatar = fetch.wants_avatar;
        let request = wants_avatar
            .then(|| link.profile.request_avatar())
            .flatten();
        match request {
            Some(request) => {
                fetch.extend(ctx.now.time);
                ctx.send(stream, &Message::ProfileRequest(request));
            }
            None => self.end(&peer),
        }
    }

    /// Handles what the peer of this link says about itself. Ignores what was not requested.
    pub fn handle_reply(&mut self, ctx: &mut Context, stream: StreamId, reply: &ProfileReply) {
        let now = ctx.now.time;
        if let Some(link) = ctx.links.get_mut(&stream).filter(|_| HAS_PROFILE)
            && link.profile.accept(reply, now)
        {
            self.continue_fetch(ctx, stream);
        }
    }

    /// Gives up the profile of a peer, for example because its link has ended.
    pub fn end(&mut self, peer: &PeerId) {
        if HAS_PROFILE {
            self.fetches.remove(peer);
        }
    }

    /// Gives up profiles that do not come.
    pub fn handle_timeout(&mut self, ctx: &Context) {
        let now = ctx.now.time;
        if HAS_PROFILE {
            self.fetches.retain(|_, fetch| fetch.deadline > now);
        }
    }

    /// Adds the time at which the next profile is given up.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        if HAS_PROFILE {
            let next = self.fetches.values().map(|fetch| fetch.deadline).min();
            deadlines.add_some(Timer::FetchProfile, next);
        }
    }
}

/// What a linked peer says about itself, as far as it has come.
pub fn received<'a>(ctx: &'a Context, peer: &PeerId) -> Option<&'a Profile> {
    ctx.link_to(peer)?.profile.received()
}

/// Answers a request for our profile.
pub fn answer(ctx: &mut Context, stream: StreamId, request: &ProfileRequest) {
    let now = ctx.now.time;
    let link = ctx.links.get_mut(&stream).filter(|_| HAS_PROFILE);
    let reply = link.and_then(|link| link.profile.answer(&ctx.own_profile, request, now));
    if let Some(reply) = reply {
        ctx.send(stream, &Message::ProfileReply(reply));
    }
}

/// Shows or changes our profile.
pub fn execute(ctx: &mut Context, command: ProfileCommand) {
    if !HAS_PROFILE {
        return;
    }
    let mut has_place = true;
    match command {
        ProfileCommand::Show => {}
        ProfileCommand::Set(name, value) => {
            ctx.change_profile(|own| has_place = own.set(&name, &value));
        }
        ProfileCommand::SetAvatar(avatar) => ctx.change_profile(|own| own.avatar = avatar),
    }
    let notice = match has_place {
        true => Notice::OwnProfile(ctx.own_profile.profile().clone()),
        false => Notice::Error {
            code: ErrorCode::Target,
            content: format!(
                "a profile has at most {PROFILE_FIELDS_MAX} fields: remove one first, with - as \
                 its value"
            ),
        },
    };
    ctx.notify(notice);
}

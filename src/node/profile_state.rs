//! What is known of profiles: what our user says about itself, and what each link has brought and
//! sent.
use crate::base::presence::profile::{HAS_PROFILE, Profile};
use crate::base::time::Time;
use crate::wire::profile::file::{format_file, parse_file};
use crate::wire::profile::messages::{AVATAR_PART_MAX_BYTES, ProfileReply, ProfileRequest};

/// Least time between two answers about the profile itself on one link, in milliseconds. Earlier
/// requests are ignored.
const PROFILE_ANSWER_INTERVAL_MS: u64 = 1_000;
/// How long a profile counts as new, in milliseconds. It is not requested again in this time.
const PROFILE_FRESH_MS: u64 = 2_000;

/// Our profile, and how often it has changed.
pub struct OwnProfile {
    profile: Profile,
    version: u64,
}

impl OwnProfile {
    /// The profile that was saved as this text.
    pub fn load(text: &str) -> OwnProfile {
        OwnProfile {
            profile: match HAS_PROFILE {
                true => parse_file(text),
                false => Profile::default(),
            },
            version: 1,
        }
    }

    /// The profile.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The number of the profile in this run, at least 1. Each change increments it.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Changes the profile. Returns the text to save, if anything has changed.
    pub fn change(&mut self, change: impl FnOnce(&mut Profile)) -> Option<String> {
        let mut changed = self.profile.clone();
        change(&mut changed);
        if changed == self.profile {
            return None;
        }
        self.profile = changed;
        self.version += 1;
        HAS_PROFILE.then(|| format_file(&self.profile))
    }
}

/// What one link has brought and sent of profiles.
#[derive(Default)]
pub struct LinkProfile {
    /// The peer's profile, with as much of its picture as has come. `None`: none has come.
    received: Option<Profile>,
    /// The version of that profile.
    version: u64,
    received_at: Time,
    /// Whether a request of ours has no answer yet.
    is_requested: bool,
    /// The version of our profile that the peer has.
    sent_version: u64,
    /// How much of our picture the peer has, in bytes of base64.
    avatar_sent: usize,
    answered_at: Option<Time>,
}

impl LinkProfile {
    /// The peer's profile, with as much of its picture as has come.
    pub fn received(&self) -> Option<&Profile> {
        self.received.as_ref()
    }

    /// Whether the profile has come so lately that it need not be requested again.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.received.is_some() && self.received_at + PROFILE_FRESH_MS > now
    }

    /// The request for the peer's profile, or only for whether it has changed.
    pub fn request(&mut self) -> ProfileRequest {
        self.is_requested = true;
        ProfileRequest {
            version: self.version,
            avatar_from: None,
        }
    }

    /// The request for the next part of the peer's picture. `None`: nothing is missing.
    pub fn request_avatar(&mut self) -> Option<ProfileRequest> {
        let avatar = self.received.as_ref()?.avatar.as_ref()?;
        let avatar_from = (avatar.missing_len() > 0).then_some(avatar.data().len() as u64);
        self.is_requested = avatar_from.is_some();
        avatar_from.map(|from| ProfileRequest {
            version: self.version,
            avatar_from: Some(from),
        })
    }

    /// Takes over what the peer says about itself. Returns whether it was requested and is
    /// of use.
    pub fn accept(&mut self, reply: &ProfileReply, now: Time) -> bool {
        if !std::mem::take(&mut self.is_requested) {
            return false;
        }
        if let Some(profile) = reply.profile() {
            self.received = Some(profile);
            (self.version, self.received_at) = (reply.version, now);
            return true;
        }
        let Some(known) = self.received.as_mut() else {
            return false;
        };
        let Some(part) = &reply.avatar else {
            self.received_at = now;
            return reply.version == self.version;
        };
        // The parts are as long as they may be, so that they are few.
        let version = self.version;
        known.avatar.as_mut().is_some_and(|avatar| {
            let len = avatar.missing_len().min(AVATAR_PART_MAX_BYTES);
            let is_next =
                reply.avatar_from == Some(avatar.data().len() as u64) && part.len() == len;
            reply.version == version && is_next && avatar.append(part)
        })
    }

    /// Answers a request for our profile. The peer gets each version, and each part of its picture,
    /// once. All other answers are short, and limited in time.
    pub fn answer(
        &mut self,
        own: &OwnProfile,
        request: &ProfileRequest,
        now: Time,
    ) -> Option<ProfileReply> {
        let version = own.version;
        let short = ProfileReply {
            version,
            ..ProfileReply::default()
        };
        if let Some(from) = request.avatar_from {
            let from = usize::try_from(from).ok()?;
            let rest = own.profile.avatar.as_ref()?.data().get(from..)?;
            let is_current = request.version == version && self.sent_version == version;
            if !is_current || from != self.avatar_sent || rest.is_empty() {
                return None;
            }
            let part = &rest[..rest.len().min(AVATAR_PART_MAX_BYTES)];
            self.avatar_sent += part.len();
            return Some(ProfileReply {
                avatar_from: request.avatar_from,
                avatar: Some(part.to_owned()),
                ..short
            });
        }
        let is_early = |at: Time| at + PROFILE_ANSWER_INTERVAL_MS > now;
        if self.answered_at.is_some_and(is_early) {
            return None;
        }
        self.answered_at = Some(now);
        if self.sent_version == version {
            return Some(short);
        }
        (self.sent_version, self.avatar_sent) = (version, 0);
        Some(ProfileReply::new(version, &own.profile))
    }
}

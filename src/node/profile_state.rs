//! What is known of profiles: what our user says about itself, and what each link has brought and
//! sent.
use crate::base::presence::profile::{HAS_PROFILE, Profile};
use crate::base::time::Time;
use crate::wire::profile::file::{format_file, parse_file};
use crate::wire::profile::messages::{AVATAR_PART_MAX_BYTES, ProfileReply, ProfileRequest};

/// Least time between two answers about the profile itself on one link, in milliseconds. Earlier
/// requests are ignored.
const PROFILE_ANSWER_INTERVAL_MS: u64 = 1_000;
/// How many parts of our picture a link may get in addition to those of the picture, per version.
/// A peer requests a part again whose answer came too late.
const AVATAR_REPEATS_MAX: usize = 16;
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

/// What we have requested of a peer and not received yet. Nothing else is accepted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Requested {
    #[default]
    Nothing,
    Profile,
    AvatarPart,
}

/// What one link has brought and sent of profiles.
#[derive(Default)]
pub struct LinkProfile {
    /// The peer's profile, with as much of its picture as has come. `None`: none has come.
    received: Option<Profile>,
    /// The version of that profile.
    version: u64,
    received_at: Time,
    requested: Requested,
    /// The version of our profile that was sent last.
    sent_version: u64,
    /// How many parts of its picture were sent, repeated ones included.
    parts_sent: usize,
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
        self.requested = Requested::Profile;
        ProfileRequest {
            version: self.version,
            avatar_from: None,
        }
    }

    /// The request for the next part of the peer's picture. `None`: nothing is missing.
    pub fn request_avatar(&mut self) -> Option<ProfileRequest> {
        let avatar = self.received.as_ref()?.avatar.as_ref()?;
        if avatar.missing_len() == 0 {
            return None;
        }
        self.requested = Requested::AvatarPart;
        Some(ProfileRequest {
            version: self.version,
            avatar_from: Some(avatar.data().len() as u64),
        })
    }

    /// Takes over what the peer says about itself. Returns whether it was requested and is of use.
    /// A part of a picture brings more of the same picture, so a fetch has an end.
    pub fn accept(&mut self, reply: &ProfileReply, now: Time) -> bool {
        match (self.requested, &reply.avatar) {
            (Requested::Profile, _) => self.accept_profile(reply, now),
            (Requested::AvatarPart, Some(part)) if reply.fields.is_none() => {
                self.accept_part(reply, part)
            }
            _ => false,
        }
    }

    fn accept_profile(&mut self, reply: &ProfileReply, now: Time) -> bool {
        let is_version = self.received.is_some() && reply.version == self.version;
        match reply.profile() {
            Some(profile) => self.received = Some(profile),
            None if is_version && reply.avatar.is_none() => {}
            None => return false,
        }
        (self.version, self.received_at) = (reply.version, now);
        self.requested = Requested::Nothing;
        true
    }

    fn accept_part(&mut self, reply: &ProfileReply, part: &str) -> bool {
        let avatar = self.received.as_mut().and_then(|it| it.avatar.as_mut());
        let Some(avatar) = avatar.filter(|_| reply.version == self.version) else {
            return false;
        };
        // The parts are as long as they may be, so that they are few.
        let len = avatar.missing_len().min(AVATAR_PART_MAX_BYTES);
        if reply.avatar_from != Some(avatar.data().len() as u64) || part.len() != len {
            return false;
        }
        self.requested = Requested::Nothing;
        avatar.append(part)
    }

    /// Answers a request for our profile. It goes to who does not have this version, and its
    /// picture to who has it. Profiles are limited in time, and parts in number.
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
        let is_known = request.version == version && self.sent_version == version;
        if let Some(from) = request.avatar_from {
            let data = own.profile.avatar.as_ref()?.data();
            let rest = data.get(usize::try_from(from).ok()?..)?;
            let parts_max = data.len().div_ceil(AVATAR_PART_MAX_BYTES) + AVATAR_REPEATS_MAX;
            if !is_known || self.parts_sent >= parts_max || rest.is_empty() {
                return None;
            }
            let part = &rest[..rest.len().min(AVATAR_PART_MAX_BYTES)];
            self.parts_sent += 1;
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
        if is_known {
            return Some(short);
        }
        if self.sent_version != version {
            (self.sent_version, self.parts_sent) = (version, 0);
        }
        Some(ProfileReply::new(version, &own.profile))
    }
}

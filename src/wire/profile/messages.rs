//! The messages about profiles: what somebody says about itself, on request.
use serde::{Deserialize, Serialize};

use crate::base::presence::profile::{Avatar, Profile};

/// Longest part of a picture in one answer, in bytes of base64. Lines of chat wait for no more than
/// that.
pub const AVATAR_PART_MAX_BYTES: usize = 8 * 1024;

/// Requests the receiver's profile, or the next part of its picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "profile_request")]
pub struct ProfileRequest {
    /// The version of the receiver's profile that the sender knows. 0: none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// Requests the picture of this version from this byte of its base64 on. Absent: requests the
    /// profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_from: Option<u64>,
}

/// Answers a [`ProfileRequest`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "profile_reply")]
pub struct ProfileReply {
    /// The version of the profile: in one run, a higher number than that of any earlier profile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: u64,
    /// The fields, each with its name and its value. Absent: the receiver knows this version, or
    /// requested a part of the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<(String, String)>>,
    /// The MIME type of the picture. Absent, with `fields`: there is no picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_type: Option<String>,
    /// The size of the picture's file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_bytes: Option<u64>,
    /// Where in the picture's base64 the part begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_from: Option<u64>,
    /// A part of the picture's base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl ProfileReply {
    /// A profile without the data of its picture.
    pub fn new(version: u64, profile: &Profile) -> ProfileReply {
        let avatar = profile.avatar.as_ref();
        ProfileReply {
            version,
            fields: Some(profile.fields().to_vec()),
            avatar_type: avatar.map(|avatar| avatar.kind().to_owned()),
            avatar_bytes: avatar.map(|avatar| avatar.size() as u64),
            ..ProfileReply::default()
        }
    }

    /// The profile, if this answer has one. Leaves out fields that break a rule.
    pub fn profile(&self) -> Option<Profile> {
        let mut profile = Profile::default();
        for (name, value) in self.fields.as_ref()? {
            profile.set(name, value);
        }
        let kind = self.avatar_type.as_deref().unwrap_or_default();
        profile.avatar = match &self.avatar {
            Some(data) => Avatar::new(kind, data),
            None => {
                let size = self.avatar_bytes.unwrap_or(0);
                Avatar::without_data(kind, usize::try_from(size).unwrap_or(usize::MAX))
            }
        };
        Some(profile)
    }
}

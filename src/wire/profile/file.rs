//! The file in which our own profile is kept: one JSON object, with the fields of a `profile_reply`
//! that has a whole picture.
use crate::base::presence::profile::Profile;
use crate::base::text::json_objects;
use crate::wire::profile::messages::ProfileReply;

/// Formats a profile, with its picture, for the file in which our own is kept.
pub fn format_file(profile: &Profile) -> String {
    let mut whole = ProfileReply::new(0, profile);
    whole.avatar = profile.avatar.as_ref().map(|it| it.data().to_owned());
    let json = serde_json::to_string(&whole);
    json.map_or_else(|_| String::new(), |json| json + "\n")
}

/// Parses what [`format_file`] wrote. Damage costs the profile.
pub fn parse_file(text: &str) -> Profile {
    let whole: Option<ProfileReply> = json_objects::parse(text);
    whole.and_then(|it| it.profile()).unwrap_or_default()
}

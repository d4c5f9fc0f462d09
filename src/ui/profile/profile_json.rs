//! Profiles as JSON.
use crate::base::batch::batch_content::write_json_string;
use crate::base::presence::profile::{Avatar, HAS_PROFILE, Profile};
use crate::ui::json_line::JsonLine;
use crate::ui::json_parser::fields::{Fields, parse_fields, parse_string};

/// Adds a profile to a JSON line. The data of a picture are left out until they are complete.
pub(in crate::ui) fn append_profile(line: &mut JsonLine<'_>, profile: &Profile) {
    let mut object = b"{".to_vec();
    for (i, (name, value)) in profile.fields().iter().enumerate() {
        if i > 0 {
            object.push(b',');
        }
        write_json_string(&mut object, name);
        object.push(b':');
        write_json_string(&mut object, value);
    }
    object.push(b'}');
    line.raw("profile", String::from_utf8_lossy(&object));
    if let Some(avatar) = &profile.avatar {
        line.string("avatar_type", avatar.kind());
        line.raw("avatar_bytes", avatar.size());
        if avatar.missing_len() == 0 {
            line.string("avatar", avatar.data());
        }
    }
}

/// Appends the answer to /profile as a JSON line.
pub(in crate::ui) fn append_own_profile(profile: &Profile, out: &mut Vec<u8>) {
    if HAS_PROFILE {
        let mut line = JsonLine::new("profile", out);
        append_profile(&mut line, profile);
        line.finish();
    }
}

/// Parses the profile in a JSON line.
pub(in crate::ui) fn parse_profile(fields: &Fields<'_>) -> Option<Profile> {
    let object = fields.raw("profile").filter(|_| HAS_PROFILE)?;
    let mut profile = Profile::default();
    profile.avatar = parse_avatar(fields);
    for field in parse_fields(object).ok()?.0 {
        profile.set(&field.name, &parse_string(field.value.get())?);
    }
    Some(profile)
}

/// Parses the picture in a JSON line.
pub(in crate::ui) fn parse_avatar(fields: &Fields<'_>) -> Option<Avatar> {
    let kind = fields.text("avatar_type")?;
    match fields.text("avatar") {
        Some(data) => Avatar::new(kind, data),
        None => Avatar::without_data(kind, fields.number("avatar_bytes")?.try_into().ok()?),
    }
}

//! Parses /profile and /avatar.
use crate::base::guests::guest::{PICTURE_MAX_BYTES, is_picture};
use crate::base::name::{NICK_RULE, Nick, PeerSelector};
use crate::base::presence::profile::{
    AVATAR_FIELD, AVATAR_MAX_BYTES, Avatar, HAS_PROFILE, PROFILE_VALUE_MAX_BYTES, Profile,
    ProfileCommand, base64_len,
};

/// Refuses these commands where they are left out.
const NOT_BUILT: &str = "not part of this build: leave it out, or build with `--features profile`";
/// The value that removes a field.
const NO_VALUE: &str = "-";

/// What a user does with its own profile.
#[derive(Debug, PartialEq, Eq)]
pub enum TypedProfile {
    /// Show or change it.
    Command(ProfileCommand),
    /// Set the picture from this file.
    AvatarFile(String),
}

/// Parses what follows /profile: nothing, or a field and its value. The value of the picture is a
/// file, or a data URL (RFC 2397).
///
/// # Errors
/// It is none of these. The error is a sentence for the user.
pub fn parse_profile_command(text: &str) -> Result<TypedProfile, String> {
    if !HAS_PROFILE {
        return Err(NOT_BUILT.into());
    }
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (name, value) = (name.to_lowercase(), value.trim());
    let command = match (&*name, value) {
        ("", _) => ProfileCommand::Show,
        (name, "") => {
            return Err(format!("/profile {name} needs a value, or - to remove it"));
        }
        (AVATAR_FIELD, NO_VALUE) => ProfileCommand::SetAvatar(None),
        (AVATAR_FIELD, value) => match parse_picture(value, base64_len(AVATAR_MAX_BYTES))? {
            Some(avatar) => ProfileCommand::SetAvatar(Some(avatar)),
            None => return Ok(TypedProfile::AvatarFile(value.to_owned())),
        },
        (_, value) if value.len() > PROFILE_VALUE_MAX_BYTES => {
            return Err(format!(
                "the value is longer than {PROFILE_VALUE_MAX_BYTES} bytes: shorten it"
            ));
        }
        (name, value) => {
            Nick::new(name).map_err(|error| format!("the field {name} {error}; {NICK_RULE}"))?;
            let value = if value == NO_VALUE { "" } else { value };
            ProfileCommand::Set(name.to_owned(), value.to_owned())
        }
    };
    Ok(TypedProfile::Command(command))
}

/// The command as a user types it.
pub fn format_profile_command(command: &ProfileCommand) -> String {
    match command {
        ProfileCommand::Show => "/profile".to_owned(),
        ProfileCommand::Set(name, value) if value.is_empty() => format!("/profile {name} -"),
        ProfileCommand::Set(name, value) => format!("/profile {name} {value}"),
        ProfileCommand::SetAvatar(None) => "/profile avatar -".to_owned(),
        ProfileCommand::SetAvatar(Some(avatar)) => {
            format!("/profile avatar {}", format_picture(avatar))
        }
    }
}

/// Parses what follows /avatar: a name, and perhaps the file to which its picture is saved.
///
/// # Errors
/// The name is missing or invalid. The error is a sentence for the user.
pub fn parse_avatar_command(text: &str) -> Result<(PeerSelector, Option<String>), String> {
    if !HAS_PROFILE {
        return Err(NOT_BUILT.into());
    }
    let (name, file) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if name.is_empty() {
        return Err("/avatar needs a name and a file: /avatar bob bob.png".to_owned());
    }
    let selector = PeerSelector::parse(name);
    let file = Some(file.trim().to_owned()).filter(|file| !file.is_empty());
    match selector {
        Ok(selector) => Ok((selector, file)),
        Err(error) => Err(format!("the name {name} {error}")),
    }
}

/// Parses a data URL, of at most so many bytes of base64. `None`: it is no URL, but a file.
fn parse_picture(text: &str, max_bytes: usize) -> Result<Option<Avatar>, String> {
    let Some(url) = text.strip_prefix("data:") else {
        return Ok(None);
    };
    let Some((kind, data)) = url.split_once(";base64,") else {
        return Err("the picture is no data URL: data:image/png;base64,…".into());
    };
    if data.len() > max_bytes {
        let kib = max_bytes / 4 * 3 / 1024;
        return Err(format!(
            "the picture is larger than {kib} KiB: choose a smaller one"
        ));
    }
    let avatar = Avatar::new(kind, data);
    let error = "the picture is no data URL: data:image/png;base64,…";
    avatar.map(Some).ok_or_else(|| error.to_owned())
}

/// The picture as a data URL.
pub fn format_picture(avatar: &Avatar) -> String {
    format!("data:{};base64,{}", avatar.kind(), avatar.data())
}

/// Parses the profile of a user of LSNP: `NAME|STATUS`, or `NAME|STATUS|data:TYPE;base64,DATA`.
///
/// # Errors
/// The third field is no picture. The error is a sentence for the user.
pub fn parse_lsnp_profile(text: &str) -> Result<Profile, String> {
    let mut fields = text.splitn(3, '|').map(str::trim);
    let mut field = || fields.next().unwrap_or_default();
    let (display_name, status, picture) = (field(), field(), field());
    let avatar = match picture {
        "" => None,
        url => match parse_picture(url, PICTURE_MAX_BYTES)? {
            Some(avatar) if is_picture(avatar.data()) => Some(avatar),
            _ => return Err("the picture is no data URL: data:image/png;base64,…".into()),
        },
    };
    Ok(Profile::new(display_name, status, avatar))
}

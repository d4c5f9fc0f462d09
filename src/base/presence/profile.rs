//! What somebody says about itself: a display name, a status, other fields, and a picture.
use crate::base::name::Nick;
use crate::base::text::rfc4648::BASE64;

/// Whether this program is built with profiles. Where this is false, the code for them is unused,
/// and the compiler leaves it out.
pub const HAS_PROFILE: bool = cfg!(feature = "profile");

/// Maximum number of fields of a profile, its display name and its status included.
pub const PROFILE_FIELDS_MAX: usize = 16;
/// Longest value of a field, in bytes of UTF-8. A longer value is cut.
pub const PROFILE_VALUE_MAX_BYTES: usize = 400;
/// Largest picture, in bytes of its file.
pub const AVATAR_MAX_BYTES: usize = 64 * 1024;
/// Longest type of a picture, such as `image/png`, in bytes.
const AVATAR_TYPE_MAX_BYTES: usize = 64;

/// The field with the name to be shown beside the one under which its owner speaks.
pub const DISPLAY_NAME_FIELD: &str = "name";
/// The field that says what its owner does.
pub const STATUS_FIELD: &str = "status";

/// What is no name of a field, because it stands for the picture.
pub const AVATAR_FIELD: &str = "avatar";

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avatar {
    kind: String,
    size: usize,
    data: String,
}

impl Avatar {
    /// A picture. `kind`: its MIME type. `data`: its file in base64. Returns `None` if the type is
    /// none, the data are no base64, or the file is empty or too large.
    pub fn new(kind: &str, data: &str) -> Option<Avatar> {
        let fits = data.len() <= base64_len(AVATAR_MAX_BYTES);
        let bytes = fits.then(|| BASE64.decode(data.as_bytes())).flatten();
        let mut avatar = Avatar::without_data(kind, bytes?.len())?;
        data.clone_into(&mut avatar.data);
        Some(avatar)
    }

    /// A picture of which only the type and the size of its file are known.
    pub fn without_data(kind: &str, size: usize) -> Option<Avatar> {
        let is_type = (1..=AVATAR_TYPE_MAX_BYTES).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid = is_type && (1..=AVATAR_MAX_BYTES).contains(&size);
        is_valid.then(|| Avatar {
            kind: kind.to_owned(),
            size,
            data: String::new(),
        })
    }

    /// Its MIME type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The size of its file, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Its file in base64, or the beginning of it that is known.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// How much of the base64 is not known yet, in bytes.
    pub fn missing_len(&self) -> usize {
        base64_len(self.size).saturating_sub(self.data.len())
    }

    /// Appends the next part of the base64. If the picture is then complete and no base64, forgets
    /// what came. Returns whether the part is not too long, and the picture valid.
    pub fn append(&mut self, part: &str) -> bool {
        if part.len() > self.missing_len() {
            return false;
        }
        self.data.push_str(part);
        let is_valid = self.missing_len() > 0
            || Avatar::new(&self.kind, &self.data).is_some_and(|it| it.size == self.size);
        if !is_valid {
            self.data.clear();
        }
        is_valid
    }

    /// The file.
    pub fn file(&self) -> Option<Vec<u8>> {
        let bytes = BASE64.decode(self.data.as_bytes());
        bytes.filter(|bytes| bytes.len() == self.size)
    }
}

/// The length of a file in base64.
pub fn base64_len(size: usize) -> usize {
    size.div_ceil(3) * 4
}

/// What somebody says about itself. The names of its fields follow the rule for names of peers.
/// Control characters in the values stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    fields: Vec<(String, String)>,
    /// The picture.
    pub avatar: Option<Avatar>,
}

impl Profile {
    /// A profile with a display name, a status, and perhaps a picture.
    pub fn new(display_name: &str, status: &str, avatar: Option<Avatar>) -> Profile {
        let mut profile = Profile {
            fields: Vec::new(),
            avatar,
        };
        profile.set(DISPLAY_NAME_FIELD, display_name);
        profile.set(STATUS_FIELD, status);
        profile
    }

    /// Sets a field, or with an empty value removes it. Cuts the value after the last character
    /// that fits. Returns false, and changes nothing, if the name is none or there are too many
    /// fields.
    pub fn set(&mut self, name: &str, value: &str) -> bool {
        let value = value[..value.floor_char_boundary(PROFILE_VALUE_MAX_BYTES)].to_owned();
        if value.is_empty() {
            self.fields.retain(|(other, _)| other != name);
            return true;
        }
        if let Some(field) = self.fields.iter_mut().find(|(other, _)| other == name) {
            field.1 = value;
            return true;
        }
        let is_name = Nick::new(name).is_ok() && name != AVATAR_FIELD;
        let has_place = self.fields.len() < PROFILE_FIELDS_MAX && is_name;
        if has_place {
            self.fields.push((name.to_owned(), value));
        }
        has_place
    }

    /// The value of a field. Empty: there is none.
    pub fn get(&self, name: &str) -> &str {
        let field = self.fields.iter().find(|(other, _)| other == name);
        field.map_or("", |(_, value)| value)
    }

    /// The fields, each with its name and its value.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }
}

/// What our user does with its profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileCommand {
    /// Show it.
    Show,
    /// Set this field to this value. An empty value removes the field.
    Set(String, String),
    /// Set the picture. `None`: remove it.
    SetAvatar(Option<Avatar>),
}

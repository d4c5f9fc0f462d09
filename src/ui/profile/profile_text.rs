//! Profiles as text for a person.
use crate::base::presence::profile::Profile;
use crate::ui::sanitize::sanitize;

/// Formats what `who` says about itself, one field a line. The lines are indented, so that none of
/// them can be taken for what this program says. Empty for an empty profile.
pub fn format_profile(who: &str, profile: &Profile) -> String {
    let fields = profile.fields().iter();
    let mut lines: Vec<String> = fields
        .map(|(name, value)| format!("  {name}: {}\n", sanitize(value)))
        .collect();
    if let Some(avatar) = &profile.avatar {
        let (kind, size) = (avatar.kind(), avatar.size());
        lines.push(format!("  avatar: {kind}, {size} bytes\n"));
    }
    match lines.is_empty() {
        true => String::new(),
        false => format!("profile of {who}:\n{}", lines.concat()),
    }
}

/// Formats the answer to /profile.
pub fn format_own_profile(profile: &Profile) -> String {
    match format_profile("yours", profile) {
        empty if empty.is_empty() => "your profile is empty: /profile status busy\n".to_owned(),
        text => text,
    }
}

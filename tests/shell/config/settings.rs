//! /set: names, values, and the options file that keeps them.
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::Command;

use p2pchat::base::name::Nick;
use p2pchat::shell::config::arguments::parse_options_file;
use p2pchat::shell::config::option_specs::OptionId;
use p2pchat::shell::config::options_file::OptionsFile;
use p2pchat::shell::config::settings::{Setting, SettingName, replace_option};
use p2pchat::shell::state::kept_settings::keep_setting;

use crate::folders::TempDir;

fn setting(name: &str, value: &str) -> Setting {
    SettingName::parse(name).unwrap().with_value(value).unwrap()
}

/// The text of an options file after a setting is kept in it.
fn kept(text: &str, setting: &Setting) -> Result<String, String> {
    let file = OptionsFile {
        path: PathBuf::from("/options"),
        text: text.to_owned(),
    };
    let (id, line) = setting.option();
    replace_option(&file, id, line.as_deref()).map_err(|failure| failure.message)
}

/// Only the line of the setting changes. Comments, blanks and other options stay.
#[test]
fn only_the_line_of_the_setting_changes() {
    let text = "# mine\n\n  --color=auto   \n-r ops\n# --no-bell\n-u alice";
    let with = |name, value| kept(text, &setting(name, value)).unwrap();
    let changed = "# mine\n\n--color never\n-r ops\n# --no-bell\n-u alice";
    assert_eq!(with("color", "never"), changed);
    assert_eq!(with("BELL", "OFF"), format!("{text}\n--no-bell\n"));
    assert_eq!(with("bell", "on"), text);
    assert_eq!(with("typing", "off"), format!("{text}\n--no-typing\n"));
    assert_eq!(with("typing", "on"), text);
    let renamed = "# mine\n\n  --color=auto   \n-r ops\n# --no-bell\n--username bob\n";
    assert_eq!(with("nick", "bob"), renamed);
    let silent = "--no-bell\n--history-direct\n";
    assert_eq!(
        kept(silent, &setting("bell", "on")).unwrap(),
        "--history-direct\n"
    );
    assert_eq!(
        kept(silent, &setting("history-direct", "off")).unwrap(),
        "--no-bell\n"
    );
    assert_eq!(
        kept("", &setting("color", "auto")).unwrap(),
        "--color auto\n"
    );
}

/// A bad file stays as it is, and so does a line with several options.
#[test]
fn a_file_that_is_not_understood_is_refused() {
    let quiet = kept("-qu alice\n", &setting("username", "bob")).unwrap_err();
    assert_eq!(
        quiet,
        "options file /options, line 1: --username is not alone: give it a line of its own"
    );
    assert!(kept("nonsense\n", &setting("bell", "off")).is_err());
}

/// Whatever name the user has is read back.
#[test]
fn names_are_read_back() {
    for name in ["bob", "'bob'", "\"bob\"", "=bob", "é", "🦀", "+1", "a=b"] {
        let nick = Nick::new(name).unwrap();
        let text = kept("-u x\n", &Setting::Username(nick)).unwrap();
        let path = PathBuf::from("/options");
        let options = parse_options_file(&OptionsFile { path, text }).unwrap();
        let [option] = &options[..] else {
            panic!("{} options", options.len());
        };
        assert_eq!(option.id, OptionId::Username);
        assert_eq!(option.value.as_deref(), Some(name.as_ref()), "{name}");
    }
}

/// An unknown setting or value is refused with what is possible.
#[test]
fn unknown_settings_are_refused() {
    let error = SettingName::parse("colour").unwrap_err();
    assert_eq!(
        error,
        "/set knows no colour: it takes username, color, bell, typing, history-direct"
    );
    for (name, value) in [
        ("bell", "loud"),
        ("typing", "no"),
        ("history-direct", ""),
        ("color", "blue"),
        ("username", "a b"),
    ] {
        let name = SettingName::parse(name).unwrap();
        assert!(name.with_value(value).is_err(), "{name:?} {value}");
    }
    for (name, value) in [("username", "bob"), ("color", "never"), ("bell", "off")] {
        let set = setting(name, value);
        assert_eq!((set.name().as_str(), &*set.value()), (name, value));
    }
}

/// The file is made with its directory, keeps its mode, and stays where a link to it leads. No
/// draft is left.
#[test]
fn the_file_is_replaced_as_a_whole() {
    let home = TempDir::new();
    let path = home.0.join("p2pchat/options");
    let config = home.0.clone();
    let env = move |name: &str| (name == "XDG_CONFIG_HOME").then(|| config.clone().into());
    assert_eq!(
        keep_setting(&setting("bell", "off"), &env),
        Ok(path.clone())
    );
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(fs::read_to_string(&path).unwrap(), "--no-bell\n");
    assert_eq!(mode(&path), 0o600);
    // A file of a collection, readable by all.
    let elsewhere = home.0.join("dotfiles");
    fs::rename(&path, &elsewhere).unwrap();
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&elsewhere, &path).unwrap();
    keep_setting(&setting("username", "bob"), &env).unwrap();
    assert_eq!(
        fs::read_to_string(&elsewhere).unwrap(),
        "--no-bell\n--username bob\n"
    );
    assert_eq!(mode(&elsewhere), 0o644);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    assert_eq!(fs::read_dir(&home.0).unwrap().count(), 2, "no draft");
    // What is no file is not replaced by one, and a link that leads nowhere stays.
    let config = path.parent().unwrap().to_owned();
    fs::remove_file(&path).unwrap();
    // Another /dev/null, which a test that fails may replace. Only root can make it.
    let device = home.0.join("null");
    let mut made = Command::new("mknod");
    made.arg(&device).args(["c", "1", "3"]);
    if made.status().is_ok_and(|status| status.success()) {
        symlink(&device, &path).unwrap();
        let refused = keep_setting(&setting("bell", "off"), &env).unwrap_err();
        assert!(refused.ends_with("is no regular file"), "{refused}");
        fs::remove_file(&path).unwrap();
    }
    symlink(config.join("nowhere"), &path).unwrap();
    assert!(keep_setting(&setting("bell", "off"), &env).is_err());
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    fs::remove_file(&path).unwrap();
    symlink(&elsewhere, &path).unwrap();
    // At the limit the file stays.
    let long = format!("# {}\n", "x".repeat(64 * 1024 - 5));
    fs::write(&elsewhere, &long).unwrap();
    assert!(keep_setting(&setting("bell", "off"), &env).is_err());
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), long);
    assert!(keep_setting(&setting("bell", "off"), &|_| None).is_err());
}

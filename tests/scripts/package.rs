//! What is installed: by the Debian package, by `scripts/install`, and as a service.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::{Folder, has_tools, output, root};

/// The files of `scripts/package/build` are in one place.
static BUILD: Mutex<()> = Mutex::new(());

/// The program without its debug information, which makes a package slow.
fn stripped_program(folder: &Folder) -> PathBuf {
    let path = folder.path().join("program");
    let program = env!("CARGO_BIN_EXE_p2pchat");
    output(Command::new("strip").arg("-o").arg(&path).arg(program));
    path
}

fn build(program: &Path) {
    let script = root().join("scripts/package/build");
    output(Command::new(script).arg("--program").arg(program));
}

/// A Debian package with this version.
fn package(folder: &Folder, version: &str) -> PathBuf {
    let path = folder.path().join(format!("{version}.deb"));
    let mut command = Command::new("cargo");
    command.args(["deb", "--quiet", "--no-build", "--no-strip", "--fast"]);
    command
        .args(["--deb-version", version, "--output"])
        .arg(&path);
    output(command.current_dir(root()));
    path
}

/// A root file system in which the scripts of a package run.
fn system(folder: &Folder) -> PathBuf {
    let system = folder.path().join("system");
    let mut files: Vec<String> = vec!["/bin/sh".into(), "/bin/rm".into()];
    for program in files.clone() {
        let libraries = output(Command::new("ldd").arg(&program));
        let paths = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        files.extend(paths.map(str::to_owned));
    }
    for file in files {
        let copy = system.join(file.trim_start_matches('/'));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, copy).expect("a file");
    }
    let folders = ["info", "updates", "triggers"].map(|name| format!("var/lib/dpkg/{name}"));
    for folder in folders.iter().map(String::as_str).chain(["usr/bin", "dev"]) {
        fs::create_dir_all(system.join(folder)).expect("a folder");
    }
    for file in ["var/lib/dpkg/status", "dev/null"] {
        fs::write(system.join(file), "").expect("a file");
    }
    // What tells systemd of the unit is a part of Debian that each of its systems has.
    let helper = system.join("usr/bin/deb-systemd-helper");
    fs::write(
        &helper,
        "#!/bin/sh\necho \"$@\" >>/helped\n[ \"$2\" != was-enabled ]\n",
    )
    .expect("a file");
    output(Command::new("chmod").arg("755").arg(helper));
    system
}

fn dpkg(system: &Path, arguments: &[&str]) {
    let mut command = Command::new("dpkg");
    command
        .arg(format!("--root={}", system.display()))
        .args(arguments);
    output(command.env("DEBIAN_FRONTEND", "noninteractive"));
}

/// The package is installed, upgraded and removed. What the administrator has changed stays, until
/// the package is purged.
#[test]
fn the_debian_package_is_installed_upgraded_and_removed() {
    if !has_tools(&["dpkg", "ldd", "strip", "cargo-deb"]) || !nix::unistd::Uid::current().is_root()
    {
        return;
    }
    let _lock = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new("deb");
    let program = stripped_program(&folder);
    build(&program);
    let packages = ["0.1.0", "0.1.1"].map(|version| package(&folder, version));
    let [old, new] = packages
        .each_ref()
        .map(|path| path.to_str().expect("UTF-8"));
    let system = system(&folder);
    dpkg(&system, &["--install", old]);
    let files = [
        "usr/bin/p2pchat",
        "usr/share/man/man1/p2pchat.1.gz",
        "usr/share/man/man7/p2pchat.7.gz",
        "usr/share/bash-completion/completions/p2pchat",
        "usr/share/zsh/vendor-completions/_p2pchat",
        "usr/share/fish/vendor_completions.d/p2pchat.fish",
        "usr/lib/systemd/system/p2pchat.service",
        "usr/share/doc/p2pchat/copyright",
    ];
    for file in files {
        assert!(system.join(file).exists(), "{file}");
    }
    let installed = system.join("usr/bin/p2pchat");
    let version = output(Command::new(&installed).arg("--version"));
    assert!(version.starts_with("p2pchat "), "{version}");
    // It is not enabled unasked: only if it was, before a removal.
    let helped = fs::read_to_string(system.join("helped")).expect("the helper ran");
    assert!(
        helped.contains("--quiet was-enabled p2pchat.service\nupdate-state"),
        "{helped}"
    );

    let options = system.join("etc/p2pchat/options");
    fs::write(&options, "--room ops\n").expect("a writable file");
    let state = system.join("var/lib/private/p2pchat");
    fs::create_dir_all(&state).expect("a folder");
    dpkg(&system, &["--install", new]);
    assert_eq!(
        fs::read_to_string(&options).expect("a file"),
        "--room ops\n"
    );
    let status = fs::read_to_string(system.join("var/lib/dpkg/status")).expect("a file");
    assert!(status.contains("Version: 0.1.1\n"), "{status}");

    dpkg(&system, &["--remove", "p2pchat"]);
    for file in files {
        assert!(!system.join(file).exists(), "{file}");
    }
    assert!(options.exists() && state.exists());
    dpkg(&system, &["--purge", "p2pchat"]);
    assert!(!options.exists() && !state.exists());
}

/// `scripts/install` puts everything below a prefix, and `scripts/uninstall` leaves nothing of it.
#[test]
fn what_is_installed_by_hand_is_removed() {
    let _lock = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new("install");
    let prefix = folder.path().join("usr");
    let run = |script: &str, arguments: &[&str]| {
        let mut command = Command::new(root().join("scripts").join(script));
        output(command.arg(&prefix).args(arguments))
    };
    let program = env!("CARGO_BIN_EXE_p2pchat");
    run("install", &["--", "--program", program]);
    let installed = prefix.join("bin/p2pchat");
    assert!(output(Command::new(&installed).arg("-V")).starts_with("p2pchat "));
    let files = || output(Command::new("find").arg(&prefix).args(["-type", "f"]));
    assert_eq!(files().lines().count(), 6, "{}", files());
    run("uninstall", &[]);
    assert_eq!(files(), "");
}

/// The unit is valid, and exposes little.
#[test]
fn the_unit_of_systemd_is_valid_and_hardened() {
    if !has_tools(&["systemd-analyze"]) {
        return;
    }
    let folder = Folder::new("unit");
    let unit = fs::read_to_string(root().join("scripts/package/p2pchat.service")).expect("a unit");
    // Only the program that is here can be found.
    let unit = unit.replace("/usr/bin/p2pchat", env!("CARGO_BIN_EXE_p2pchat"));
    let path = folder.path().join("p2pchat.service");
    fs::write(&path, unit).expect("a writable file");
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output();
    let verify = verify.expect("an end");
    let complaints = String::from_utf8_lossy(&verify.stderr);
    assert!(!complaints.contains("p2pchat.service"), "{complaints}");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=yes", "--threshold=15", "--no-pager"]);
    output(analyze.arg(&path));
}

/// The script of OpenWrt starts the program that it describes, also in BusyBox.
#[test]
fn the_script_of_openwrt_runs_the_program() {
    if !has_tools(&["busybox"]) {
        return;
    }
    let folder = Folder::new("procd");
    let state = folder.path().join("state");
    let script = root().join("scripts/package/p2pchat.init");
    let commands = format!(
        "procd_open_instance() {{ :; }}\nprocd_close_instance() {{ :; }}\n\
         procd_send_signal() {{ echo \"signal $*\"; }}\n\
         procd_set_param() {{ [ \"$1\" = command ] || return 0; shift; echo \"$*\"; }}\n\
         mkdir() {{ [ \"$*\" = '-p /etc/p2pchat' ] || command mkdir \"$@\"; }}\n\
         . {}\ndir={}\nstart_service\nreload_service\n",
        script.display(),
        state.display()
    );
    let mut ash = Command::new("busybox");
    let printed = output(ash.args(["ash", "-euc", &commands]));
    let expected = format!(
        "/usr/bin/p2pchat --dir {} listen\nsignal p2pchat * HUP\n",
        state.display()
    );
    assert_eq!(printed, expected);
    let mode = output(Command::new("stat").args(["-c", "%a"]).arg(&state));
    assert_eq!(mode, "700\n");
}

//! Leaves the unwind tables out of a release build. It aborts on panic, so nothing needs them. They
//! are a tenth of its size.
use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    println!("cargo::rerun-if-changed=scripts/release.ld");
    let variable = |name: &str| var(name).unwrap_or_default();
    // Other targets keep their tables in other sections, and have other linkers.
    if variable("PROFILE") == "release" && variable("TARGET") == "x86_64-unknown-linux-gnu" {
        println!("cargo::rustc-link-arg-bins=-T");
        println!(
            "cargo::rustc-link-arg-bins={}/scripts/release.ld",
            variable("CARGO_MANIFEST_DIR")
        );
    }
}

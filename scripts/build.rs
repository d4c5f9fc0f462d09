//! Leaves the unwind tables out of a release, which aborts and never unwinds: a tenth of its size, which nothing would read.
use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    println!("cargo::rerun-if-changed=scripts/release.ld");
    let of = |name: &str| var(name).unwrap_or_default();
    // Other machines have other tables, and other linkers.
    if of("PROFILE") == "release" && of("TARGET") == "x86_64-unknown-linux-gnu" {
        println!("cargo::rustc-link-arg-bins=-T");
        println!(
            "cargo::rustc-link-arg-bins={}/scripts/release.ld",
            of("CARGO_MANIFEST_DIR")
        );
    }
}

//! Leaves out of a release build what nothing reads. The unwind tables, because it aborts on panic:
//! they are a tenth of its size. And with musl the long form of relocations: the musl of Rust reads
//! the short one (RELR). With glibc it stays, as systems with glibc before 2.36 are still around.
use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    println!("cargo::rerun-if-changed=scripts/release.ld");
    let variable = |name: &str| var(name).unwrap_or_default();
    // Linkers of other systems take other options, and 32-bit ARM has its tables in other sections.
    let is_known = variable("CARGO_CFG_TARGET_OS") == "linux"
        && ["x86_64", "aarch64"].contains(&variable("CARGO_CFG_TARGET_ARCH").as_str());
    if variable("PROFILE") != "release" || !is_known {
        return;
    }
    let pass = |argument: &str| println!("cargo::rustc-link-arg-bins={argument}");
    pass("-T");
    pass(&format!(
        "{}/scripts/release.ld",
        variable("CARGO_MANIFEST_DIR")
    ));
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // A C compiler passes on what begins with `-Wl,`.
        let is_compiler = !variable("RUSTC_LINKER").ends_with("lld");
        pass(match is_compiler {
            true => "-Wl,-z,pack-relative-relocs",
            false => "-zpack-relative-relocs",
        });
    }
}

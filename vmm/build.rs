//! Builds the guests with a cargo of their own, for the library to carry.

#[path = "../guest/inner_cargo.rs"]
mod inner_cargo;

use inner_cargo::inner_cargo;
use std::env;
use std::path::{Path, PathBuf};

/// Folders and files of the guest workspace whose change asks for a new build.
const SOURCES: [&str; 11] = [
    "abi",
    "arch",
    "broken",
    "classic",
    "classic-user",
    "micro",
    "user",
    "Cargo.toml",
    "Cargo.lock",
    ".cargo",
    "inner_cargo.rs",
];

/// What the library includes.
const BINARIES: [&str; 21] = [
    "micro",
    "classic",
    "broken",
    "broken-plain",
    "compute",
    "writer",
    "sleeper",
    "fault",
    "hostile",
    "arguments",
    "twins",
    "init",
    "names",
    "console",
    "files",
    "sh",
    "usertests",
    "claims",
    "stress",
    "syscalls",
    "bench",
];

fn main() {
    // A library for other kernels' tests carries no guests.
    if env::var_os("CARGO_FEATURE_PROGRAM").is_none() {
        return;
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let workspace = manifest.join("../guest");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    // OUT_DIR is <target>/<profile>/build/<package>/out. All profiles share one guest build.
    let target = out.ancestors().nth(4).expect("OUT_DIR lies in the target folder").join("guest");
    build(&workspace, &target);
    let built = target.join("i586-unknown-linux-gnu/release");
    for binary in BINARIES {
        std::fs::copy(built.join(binary), out.join(binary))
            .unwrap_or_else(|error| panic!("the guest build left no {binary}: {error}"));
    }
}

fn build(workspace: &Path, target: &Path) {
    let status = inner_cargo(workspace, target).arg("--locked").status();
    assert!(
        status.expect("cargo can be started").success(),
        "the guests do not build: is the target i586-unknown-linux-gnu installed (scripts/setup)?"
    );
}

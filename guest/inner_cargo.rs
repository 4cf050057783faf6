//! The cargo that a build script builds guests with: included by `vmm/build.rs` and `twins/build.rs`.
//!
//! The guests have another target and other flags. What the outer cargo has put into the environment would
//! reach the inner one and win over them, so it is taken out.

use std::env;
use std::path::Path;
use std::process::Command;

/// `cargo build --release` in this workspace, not yet started.
pub(crate) fn inner_cargo(workspace: &Path, target: &Path) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.current_dir(workspace).args(["build", "--release", "--target-dir"]).arg(target);
    for name in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "CARGO_MAKEFLAGS",
        "MAKEFLAGS",
        "LLVM_PROFILE_FILE",
    ] {
        cargo.env_remove(name);
    }
    cargo
}

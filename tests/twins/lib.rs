//! The twins of `micro` and `classic`: for each claim that a kernel can break, the kernel that breaks it.
//!
//! A judge that cannot say no proves nothing, so each claim has to be refuted by a kernel of which it is false.
//! The kernels themselves hold no trace of that. A twin is a file, `micro/NAME.patch` or `classic/NAME.patch`: one
//! sentence that says what is wrong, and a unified diff against `guest/micro` or `guest/classic`. The build script
//! copies the kernel, applies the diff and builds the copy; building this package is all that it takes:
//! ```text
//!  guest/micro ────────────────────┐
//!                                  ├─► OUT_DIR/workspace/micro-NAME ─► target/twins/micro-NAME
//!  tests/twins/micro/NAME.patch ───┘
//! ```
//! Nobody who only runs esp0 builds them: the package is none of the workspace's default members. The tests depend
//! on it, and `scripts/runner` builds it where `esp0 claims --break` is asked for one.
//!
//! Rejected: a question in the kernel (it then lies about itself to whoever reads it, and pays for the question);
//! a `cfg` (the same, to the reader); a copy of each kernel (nobody sees in what it differs).
//!
//! To change a twin, or to make it anew after its kernel has changed: copy the kernel's folder to `a` and `b`, change
//! `b`, and keep what `diff -ru a b` prints below the sentence. A diff that no longer fits fails the build, which then
//! says whose it is, and of which file.

#[cfg(test)]
mod patch;

/// The folder of the twins, each a kernel called `KERNEL-NAME`.
pub const FOLDER: &str = env!("ESP0_TWINS");

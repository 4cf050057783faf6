//! Small kernels in C, one fault or one manner each, built by the C compiler of this machine.
//!
//! They lie in `tests/c`; each `#ifdef NAME` there is one, built with the tests by `tests/build.rs`. What other people's
//! kernels are made with is also what makes these: a compiler that nobody here has tamed.

use std::path::Path;

/// The kernel of `tests/c` with this name. None, with the reason printed, if there is no compiler for 32-bit code.
///
/// # Panics
/// If there is none of this name, or the compiler has refused it.
pub fn compiled(name: &str) -> Option<Vec<u8>> {
    variant(name, "plain")
}

/// The same with its fault mended.
///
/// # Panics
/// As [`compiled`].
pub fn mended(name: &str) -> Option<Vec<u8>> {
    variant(name, "mended")
}

/// The same without symbols, as many kernels are that come on a disk.
///
/// # Panics
/// As [`compiled`].
pub fn stripped(name: &str) -> Option<Vec<u8>> {
    variant(name, "stripped")
}

/// The same with line numbers and types, for a debugger.
///
/// # Panics
/// As [`compiled`].
pub fn compiled_to_debug(name: &str) -> Option<Vec<u8>> {
    variant(name, "debug")
}

/// The kernel of `tests/c/cases` with this name, as its author builds it: optimised, with line numbers.
///
/// # Panics
/// As [`compiled`].
pub fn case(name: &str) -> Option<Vec<u8>> {
    variant(name, "case")
}

fn variant(name: &str, variant: &str) -> Option<Vec<u8>> {
    let file =
        |kind: &str| Path::new(env!("ESP0_TEST_KERNELS")).join(format!("{name}.{variant}.{kind}"));
    if let Ok(bytes) = std::fs::read(file("elf")) {
        return Some(bytes);
    }
    if let Ok(reason) = std::fs::read_to_string(file("missing")) {
        println!("skipped: {name} was not built, {reason}");
        return None;
    }
    let said = std::fs::read_to_string(file("error"));
    panic!("{name}, {variant}: {}", said.unwrap_or_else(|_| "there is no such kernel".into()));
}

//! Small kernels in C, one fault or one manner each, built by the C compiler of this machine.
//!
//! They lie in `tests/c`; each `#ifdef NAME` there is one. What other people's kernels are made with is also
//! what makes these: a compiler that nobody here has tamed.

use std::path::Path;
use std::process::Command;

/// The kernel of `tests/c/FILE.c` with this name. None, with the reason printed, if there is no compiler for
/// 32-bit code.
///
/// # Panics
/// If the compiler refuses the file.
pub fn compiled(file: &str, name: &str) -> Option<Vec<u8>> {
    build(file, name, &[])
}

/// The same with its fault mended.
///
/// # Panics
/// As [`compiled`].
pub fn mended(file: &str, name: &str) -> Option<Vec<u8>> {
    build(file, name, &["-DMENDED"])
}

/// The same without symbols, as many kernels are that come on a disk.
///
/// # Panics
/// As [`compiled`].
pub fn stripped(file: &str, name: &str) -> Option<Vec<u8>> {
    build(file, name, &["-s"])
}

/// The same with line numbers and types, for a debugger.
///
/// # Panics
/// As [`compiled`].
pub fn compiled_to_debug(file: &str, name: &str) -> Option<Vec<u8>> {
    build(file, name, &["-g", "-O0"])
}

fn build(file: &str, name: &str, more: &[&str]) -> Option<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("c");
    let out = tempfile(name, more);
    let output = Command::new("gcc")
        .args([
            "-m32",
            "-march=i586",
            "-O1",
            "-std=gnu11",
            "-ffreestanding",
            "-fno-pic",
            "-fno-pie",
        ])
        .args(["-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables"])
        .args(["-fno-optimize-sibling-calls", "-mgeneral-regs-only", "-w", "-nostdlib", "-static"])
        .args(["-no-pie", "-Wl,--build-id=none,--no-warn-rwx-segments,-n"])
        .arg(format!("-Wl,-T,{}", folder.join("small.ld").display()))
        .arg(format!("-D{name}"))
        .args(more)
        .arg("-o")
        .arg(&out)
        .arg(folder.join(format!("{file}.c")))
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {name} is not built, gcc cannot be started ({error})");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "gcc refuses {file}.c with {name}:\n{text}");
    let bytes = std::fs::read(&out).expect("gcc has written its output");
    let _ = std::fs::remove_file(out);
    Some(bytes)
}

fn tempfile(name: &str, more: &[&str]) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("esp0-{}-{name}{}.elf", std::process::id(), more.concat()))
}

//! `esp0 gdbinit`: a file of commands for gdb.

use super::failure::{Failure, with_output};
use super::guest_files::split;
use super::output::Output;
use super::programs::{Programs, quoted};
use super::{OK, files};
use esp0::guests;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What gdb is to read.
pub(super) struct Files {
    pub(super) kernel: Option<PathBuf>,
    pub(super) modules: Vec<String>,
    pub(super) symbols: Vec<PathBuf>,
}

/// What to type for what esp0 can: `who &tss.esp0` is easier than a number, and behind `goto` gdb has to forget what
/// it knows.
const COMMANDS: &str = r#"
define program
end
define goto
  monitor goto $arg0
  maintenance flush register-cache
  maintenance flush dcache
  program
  frame
end
document goto
Go to a place in the run: #N for entry N, @EVENT.STEP, start, end.
end
define who
  set $_esp0_address = $arg0
  with language c -- eval "monitor who 0x%x", (unsigned int) $_esp0_address
end
document who
Who changed the word at this address last: who &tss.esp0
end
define phys
  set $_esp0_address = $arg0
  set $_esp0_count = 16
  if $argc > 1
    set $_esp0_count = $arg1
  end
  with language c -- eval "monitor phys 0x%x %u", (unsigned int) $_esp0_address, (unsigned int) $_esp0_count
end
document phys
Memory by physical address: phys ADDRESS [COUNT]
end
define why
  monitor why
end
document why
The last entry into the kernel, explained step by step.
end
"#;

/// Frames unwind through a handler in assembly to what was interrupted. It comes last: a gdb without Python reads no
/// further.
const UNWINDER: &str = include_str!("unwinder.py");

/// Prints the file; with `carried`, a guest that esp0 carries is written to a folder first.
pub(super) fn print(
    files: Files,
    carried: Option<(&str, &Path)>,
    address: &str,
) -> Result<u8, Failure> {
    let mut files = files;
    if let Some((name, folder)) = carried {
        write_guest(&mut files, name, folder)?;
    }
    let mut text = String::from(
        "# For gdb, written by `esp0 gdbinit`: gdb -x FILE\nset architecture i386\nset remotetimeout 60\n",
    );
    if let Some(kernel) = &files.kernel {
        match symbols(kernel)? {
            Some(path) => writeln!(text, "file {path}"),
            None => writeln!(text, "# {} is no ELF file: it has no symbols", kernel.display()),
        }
        .ok();
    }
    let modules = files.modules.iter().map(|command| PathBuf::from(split(command).0));
    let programs = Programs::of(modules, files.symbols, files.kernel.as_deref())?;
    for program in programs.apart() {
        let _ = writeln!(text, "add-symbol-file {}", program.path);
    }
    text.push_str(COMMANDS);
    let address = address.strip_prefix("unix:").unwrap_or(address);
    let _ = writeln!(text, "\ntarget remote {address}\npython\n{UNWINDER}end");
    text.push_str(&programs.python());
    let mut out = Output::standard();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(with_output(OK, written))
}

/// Writes a guest and its programs, and has gdb read them.
fn write_guest(files: &mut Files, name: &str, folder: &Path) -> Result<(), Failure> {
    let fail = |error: std::io::Error| {
        Failure::Input(format!("{} cannot be written to: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(fail)?;
    // clap allows no other names.
    let guest = guests::guest(name).unwrap_or(&guests::GUESTS[0]);
    let kernel = folder.join(guest.name);
    std::fs::write(&kernel, guest.kernel).map_err(fail)?;
    files.kernel = Some(kernel);
    if files.modules.is_empty() {
        files.modules.extend(guest.modules.iter().map(|module| (*module).to_owned()));
    }
    for command in &mut files.modules {
        let (name, _) = split(command);
        if let Some(program) = guests::program(&name) {
            let path = folder.join(&name);
            std::fs::write(&path, program.bytes).map_err(fail)?;
            *command = format!("\"{}\"", path.display());
        }
    }
    Ok(())
}

/// The file's path as gdb takes it, if it is an ELF file.
fn symbols(path: &Path) -> Result<Option<String>, Failure> {
    let (bytes, _) = files::read(path)?;
    Ok(bytes.starts_with(b"\x7fELF").then(|| quoted(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gdb_reads_is_quoted_and_what_is_no_elf_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let elf = folder.path().join("my \"kernel\".elf");
        std::fs::write(&elf, b"\x7fELF").unwrap();
        let text = symbols(&elf).unwrap().unwrap();
        assert!(text.starts_with('"') && text.ends_with("/my \\\"kernel\\\".elf\""), "{text}");
        let other = folder.path().join("bzImage");
        std::fs::write(&other, b"MZ").unwrap();
        assert!(symbols(&other).unwrap().is_none());
        assert!(symbols(&folder.path().join("none")).is_err());
    }
}

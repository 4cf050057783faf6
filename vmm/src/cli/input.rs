//! The kernel and the modules that a run is to boot.

use super::arguments::RunOptions;
use super::failure::Failure;
use esp0::boot::{self, Boot, KernelFile, ModuleFile};
use esp0::check::Objects;
use esp0::guests;
use esp0::machine::Memory;
use std::borrow::Cow;
use std::fs;
use std::path::Path;

/// Files in memory, ready to be loaded.
#[derive(Debug)]
pub(super) struct Input {
    /// What to call the kernel.
    pub(super) kernel: String,
    bytes: Cow<'static, [u8]>,
    modules: Vec<Module>,
    command_line: String,
    /// The kernel is one that esp0 carries.
    pub(super) carried: bool,
}

#[derive(Debug)]
struct Module {
    name: String,
    command: String,
    bytes: Cow<'static, [u8]>,
}

impl Input {
    /// Reads what the options name.
    pub(super) fn read(kernel: Option<&Path>, options: &RunOptions) -> Result<Self, Failure> {
        let mut modules = Vec::new();
        for command in &options.modules {
            modules.push(module(command)?);
        }
        let (kernel, bytes, carried) = match kernel {
            Some(path) => (path.display().to_string(), read(path)?.into(), false),
            None => {
                // clap allows no other names.
                let guest = guests::guest(&options.guest).unwrap_or(&guests::GUESTS[0]);
                if modules.is_empty() {
                    let commands =
                        if options.interactive { guest.interactive_modules } else { guest.modules };
                    for command in commands {
                        modules.push(module(command)?);
                    }
                }
                (guest.name.to_owned(), Cow::Borrowed(guest.kernel), true)
            }
        };
        Ok(Input { kernel, bytes, modules, command_line: options.cmdline.clone(), carried })
    }

    /// Where the kernel's variables lie.
    pub(super) fn objects(&self) -> Objects {
        Objects::of_elf32(&self.bytes)
    }

    /// Loads the kernel and its modules.
    pub(super) fn load(&self, memory: &Memory) -> Result<Boot, Failure> {
        let kernel = KernelFile { name: &self.kernel, bytes: &self.bytes };
        let modules: Vec<ModuleFile<'_>> = self
            .modules
            .iter()
            .map(|module| ModuleFile {
                name: &module.name,
                command: &module.command,
                bytes: &module.bytes,
            })
            .collect();
        Ok(boot::load(memory.all(), kernel, &modules, &self.command_line)?)
    }

    /// Whether it could be loaded, where there is no VM to load it into.
    pub(super) fn check(&self, size: u64) -> Result<(), Failure> {
        self.load(&Memory::detached(size)?).map(|_| ())
    }
}

/// A file, or else a program that esp0 carries.
fn module(command: &str) -> Result<Module, Failure> {
    let Some(name) = command.split_whitespace().next() else {
        return Err(Failure::Input("--module needs a file or the name of a program".into()));
    };
    let path = Path::new(name);
    let bytes = match guests::program(command) {
        Some(program) if !path.exists() => Cow::Borrowed(program.bytes),
        _ => Cow::Owned(read(path)?),
    };
    // The kernel is told the program's name, not where it was found.
    let file = path.file_name().map_or(name.into(), |file| file.to_string_lossy());
    let command = command.trim_start().replacen(name, &file, 1);
    Ok(Module { name: name.into(), command, bytes })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path)
        .map_err(|error| Failure::Input(format!("{} cannot be read: {error}", path.display())))
}

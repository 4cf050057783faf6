//! The kernel and the modules that a run is to boot.

use super::arguments::{LoaderArgument, RunOptions};
use super::drives::Drives;
use super::failure::Failure;
use super::files::{FileId, read};
use esp0::boot::{self, Boot, Format, KernelFile, ModuleFile};
use esp0::check::Objects;
use esp0::guests;
use esp0::machine::{LoaderMemory, Memory};
use esp0::recording::digest;
use esp0::symbols::{Symbols, linked_entry};
use std::borrow::Cow;
use std::path::Path;
use std::time::SystemTime;

/// Files in memory, ready to be loaded.
#[derive(Debug)]
pub(super) struct GuestFiles {
    /// What to call the kernel.
    pub(super) kernel: String,
    bytes: Cow<'static, [u8]>,
    /// Where a flat binary lies and begins.
    at: Option<u32>,
    modules: Vec<Module>,
    /// The last module was given as a RAM disk, which Linux alone has.
    initrd: bool,
    command_line: String,
    symbols: Vec<(String, Vec<u8>)>,
    /// The BIOS, with its name, if the kernel is an image that one boots.
    firmware: Option<(String, Vec<u8>)>,
    /// The kernel is one that esp0 carries.
    pub(super) carried: bool,
    /// When the kernel's file was written; none for one that esp0 carries.
    pub(super) built: Option<SystemTime>,
    /// The files that were read, and what they are.
    pub(super) files: Vec<(FileId, String)>,
}

#[derive(Debug)]
struct Module {
    name: String,
    command: String,
    bytes: Cow<'static, [u8]>,
    file: Option<FileId>,
}

impl GuestFiles {
    /// Reads what the options name.
    pub(super) fn read(
        kernel: Option<&Path>,
        options: &RunOptions,
        drives: &Drives,
    ) -> Result<Self, Failure> {
        let firmware = drives.firmware.as_ref();
        if firmware.is_some()
            && (!options.modules.is_empty()
                || options.initrd.is_some()
                || !options.cmdline.is_empty() && !drives.takes_command_line)
        {
            return Err(Failure::Input(if drives.takes_command_line {
                "a bzImage of a boot protocol before 2.10 is booted by a BIOS, and with a command line alone: --module and \
                 --initrd are for kernels that are loaded without one"
                    .into()
            } else {
                "an image of a disk or a CD has its own modules and command lines: --module, --initrd and --cmdline \
                 are for kernels"
                    .into()
            }));
        }
        if firmware.is_some() && matches!(options.loader, LoaderArgument::Qemu) {
            return Err(Failure::Input(
                "what a BIOS boots has its own loader, and --loader says with whose selectors a kernel starts".into(),
            ));
        }
        match (options.at, kernel) {
            (Some(_), None) => {
                return Err(Failure::Input(
                    "--at says where a KERNEL lies, and none is named".into(),
                ));
            }
            (Some(_), Some(kernel)) if firmware.is_some() => {
                return Err(Failure::Input(format!(
                    "{} is an image that a BIOS boots, and --at is for a flat binary of 32-bit code",
                    kernel.display()
                )));
            }
            _ => {}
        }
        let mut modules = Vec::new();
        for command in &options.modules {
            modules.push(module(command)?);
        }
        let mut files = drives.files.clone();
        if let Some(path) = &options.initrd {
            let name = path.display().to_string();
            let (bytes, id) = read(path)?;
            modules.push(Module { name, command: String::new(), bytes: bytes.into(), file: id });
        }
        let kernel = kernel.or(drives.booted.as_deref());
        let built = kernel.and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
        let (kernel, bytes, carried) = match kernel {
            // It stays in its drive.
            Some(path) if firmware.is_some() => (path.display().to_string(), Cow::default(), false),
            Some(path) => {
                let (bytes, id) = read(path)?;
                files.extend(id.map(|id| (id, "the kernel".to_owned())));
                (path.display().to_string(), bytes.into(), false)
            }
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
        let named = |module: &Module| Some((module.file?, format!("the module {}", module.name)));
        files.extend(modules.iter().filter_map(named));
        let mut symbols = Vec::new();
        for path in &options.symbols {
            let (bytes, id) = read(path)?;
            let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into());
            if Symbols::none().with_kernel(bytes.clone()).count() == 0 {
                return Err(Failure::Input(format!(
                    "{} has no symbols: it has to be an ELF32 file for the 386 that is not stripped",
                    path.display()
                )));
            }
            files.extend(id.map(|id| (id, format!("the symbols {}", path.display()))));
            symbols.push((name, bytes));
        }
        let command_line = options.cmdline.clone();
        let firmware = firmware.map(|firmware| (firmware.name.clone(), firmware.bios.clone()));
        Ok(GuestFiles {
            kernel,
            bytes,
            at: options.at,
            modules,
            initrd: options.initrd.is_some(),
            command_line,
            symbols,
            firmware,
            carried,
            built,
            files,
        })
    }

    /// What is loaded, in two numbers: the kernel, and the modules with what they are told.
    pub(super) fn digests(&self) -> [String; 2] {
        let modules =
            self.modules.iter().flat_map(|module| [module.command.as_bytes(), &module.bytes]);
        [digest([&*self.bytes]), digest(modules)]
    }

    /// Where the kernel's variables lie, and what memory is loaded with. A kernel that was stripped, or that a
    /// boot loader loads, has its variables in the file that the user gave for it.
    pub(super) fn objects(&self, boot: &Boot) -> Objects {
        let objects = Objects::of_elf32(&self.bytes);
        let unstripped = self.symbols.iter().find(|(_, bytes)| self.is_kernel(bytes, boot));
        match unstripped {
            Some((_, bytes)) if objects.is_empty() => objects.with_symbols_of(bytes),
            _ => objects,
        }
    }

    /// The file has the kernel's entry point, so it is the kernel before it was stripped; or it is the only
    /// one that is given where a boot loader loads the kernel.
    fn is_kernel(&self, symbols: &[u8], boot: &Boot) -> bool {
        match &self.firmware {
            Some(_) => self.symbols.len() == 1,
            None => linked_entry(symbols) == Some(boot.image.linked_entry),
        }
    }

    /// Loads the kernel and its modules.
    pub(super) fn load(&self, memory: &LoaderMemory<'_>) -> Result<Boot, Failure> {
        if let Some((name, bios)) = &self.firmware {
            return boot::firmware::load(memory, bios)
                .map_err(|error| Failure::Input(format!("the BIOS {name} {error}")));
        }
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
        let boot = match self.at {
            Some(address) => boot::load_at(memory, kernel, address, &modules, &self.command_line)?,
            None => boot::load(memory, kernel, &modules, &self.command_line)?,
        };
        if self.initrd && boot.image.format != Format::Linux {
            return Err(Failure::Input(format!(
                "{} is no Linux kernel, so it has no initial RAM disk: --module gives it a file instead of --initrd",
                self.kernel
            )));
        }
        Ok(boot)
    }

    /// What names the guest's addresses: the kernel's file, what the user gave beside it, and the modules.
    pub(super) fn symbols(&self, boot: &Boot) -> Symbols {
        let mut symbols = Symbols::none().with_kernel(self.bytes.clone());
        for (name, bytes) in &self.symbols {
            symbols = if self.is_kernel(bytes, boot) {
                symbols.with_kernel(bytes.clone())
            } else {
                symbols.with_program(name, bytes.clone())
            };
        }
        for module in &self.modules {
            let name = Path::new(&module.name).file_name().map(|name| name.to_string_lossy());
            symbols = symbols.with_program(&name.unwrap_or_default(), module.bytes.clone());
        }
        symbols
    }

    /// Whether it could be loaded, where there is no VM to load it into.
    pub(super) fn check(&self, size: u64) -> Result<(), Failure> {
        self.load(&Memory::detached(size)?.all()).map(|_| ())
    }
}

/// A file, or else a program that esp0 carries.
fn module(command: &str) -> Result<Module, Failure> {
    let (name, arguments) = split(command);
    if name.is_empty() {
        return Err(Failure::Input("--module needs a file or the name of a program".into()));
    }
    let path = Path::new(&name);
    let (bytes, id) = match guests::program(&name) {
        // A folder of that name is none: somebody may well have one called `files`.
        Some(program) if !path.exists() || path.is_dir() => (Cow::Borrowed(program.bytes), None),
        _ => {
            let (bytes, id) = read(path)?;
            (Cow::Owned(bytes), id)
        }
    };
    // The kernel is told the program's name, not where it was found.
    let file = path.file_name().map_or(name.as_str().into(), |file| file.to_string_lossy());
    let command = format!("{file}{arguments}");
    Ok(Module { name, command, bytes, file: id })
}

/// The file that `--module` names, and its arguments with the space before them.
///
/// As in a shell a name may stand in quotes, and a backslash takes a letter as it is. Arguments are the
/// kernel's to read, and left alone.
pub(super) fn split(command: &str) -> (String, &str) {
    let command = command.trim_start();
    // Somebody who quoted for the shell alone.
    if command.contains(char::is_whitespace) && Path::new(command).is_file() {
        return (command.into(), "");
    }
    let mut name = String::new();
    let mut quote = None;
    let mut letters = command.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => return (name, &command[at..]),
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None | Some('"'), '\\') => name.extend(letters.next().map(|(_, letter)| letter)),
            (_, letter) => name.push(letter),
        }
    }
    (name, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_split_into_its_file_and_its_arguments() {
        for (command, name, arguments) in [
            ("sleeper 65", "sleeper", " 65"),
            ("  sleeper", "sleeper", ""),
            ("\"my file\" a \"b c\"", "my file", " a \"b c\""),
            ("'it is' x", "it is", " x"),
            ("my\\ file x", "my file", " x"),
            ("dir/'a b'/c", "dir/a b/c", ""),
            ("", "", ""),
        ] {
            assert_eq!(split(command), (name.into(), arguments), "{command:?}");
        }
    }

    #[test]
    fn a_file_with_spaces_that_is_there_needs_no_quotes_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my program.elf");
        std::fs::write(&path, b"x").unwrap();
        let module = module(path.to_str().unwrap()).unwrap();
        assert_eq!((module.command.as_str(), &*module.bytes), ("my program.elf", &b"x"[..]));
    }
}

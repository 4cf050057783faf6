//! Files that a run reads and writes: bounded, told apart, and opened before anything is done.

use super::failure::Failure;
use esp0::machine::StopRequest;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// No kernel, module or list of cases is larger.
const LARGEST: u64 = 512 << 20;

/// The same for any two names of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// A file with contents of its own; none for devices and pipes.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let id = FileId { device: metadata.dev(), inode: metadata.ino() };
        metadata.is_file().then_some(id)
    }
}

/// Reads a file that is no larger than a kernel can be.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Option<FileId>), Failure> {
    let fail = |why: &dyn std::fmt::Display| {
        Failure::Input(format!("{} cannot be read: {why}", path.display()))
    };
    let file = File::open(path).map_err(|error| fail(&error))?;
    let metadata = file.metadata().map_err(|error| fail(&error))?;
    if metadata.file_type().is_char_device() {
        return Err(fail(&"it is a device, which has no end"));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= LARGEST {
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    }
    if metadata.len().max(bytes.len() as u64) > LARGEST {
        return Err(fail(&format_args!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok((bytes, FileId::of(&metadata)))
}

/// A file that is going to be written. What it held before stays until [`begin`](Destination::begin); one that was
/// made for nothing goes again.
#[derive(Debug)]
pub(super) struct Destination {
    file: Option<File>,
    name: OutputName,
    /// It was not there before.
    made: bool,
    id: Option<FileId>,
}

impl Destination {
    /// Opens `path` for what is called `what`. A pipe without a reader is waited for until `until`, or until
    /// `stop` is requested.
    pub(super) fn open(
        path: &Path,
        what: &'static str,
        until: Option<Instant>,
        stop: &StopRequest,
    ) -> Result<Self, Failure> {
        let name = OutputName { what, path: path.into() };
        let fail = |error: io::Error| name.unwritable(&error);
        let (file, made) = open(path, until, stop).map_err(fail)?;
        let id = FileId::of(&file.metadata().map_err(fail)?);
        Ok(Destination { file: Some(file), name, made, id })
    }

    /// Refuses to write over one of `others`.
    pub(super) fn differs_from(&self, others: &[(FileId, String)]) -> Result<(), Failure> {
        let same = others.iter().find(|(id, _)| Some(*id) == self.id);
        same.map_or(Ok(()), |(_, other)| {
            Err(Failure::Input(format!(
                "the {} is the same file as {other}: give it another name",
                self.name
            )))
        })
    }

    /// What it is called, and which file it is, if it is one.
    pub(super) fn identity(&self) -> Option<(FileId, String)> {
        self.id.map(|id| (id, format!("the {}", self.name.what)))
    }

    /// Its path, as it was given.
    pub(super) fn path(&self) -> &Path {
        &self.name.path
    }

    /// Empties it, to be written from now on.
    pub(super) fn begin(mut self) -> io::Result<File> {
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        if self.id.is_some() {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// The same, for whoever tells by name what cannot be written.
    pub(super) fn begun(self) -> Result<Begun, Failure> {
        let name = self.name.clone();
        match self.begin() {
            Ok(file) => Ok(Begun { file, name }),
            Err(error) => Err(name.unwritable(&error)),
        }
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.made && self.file.is_some() {
            // Whoever removed it before has done the same.
            let _ = fs::remove_file(&self.name.path);
        }
    }
}

/// What a file that is written is called in a sentence: what it is, and its path.
#[derive(Clone, Debug)]
pub(super) struct OutputName {
    what: &'static str,
    path: PathBuf,
}

impl OutputName {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Why the file is not whole.
    pub(super) fn unwritable(&self, error: &io::Error) -> Failure {
        Failure::Input(format!("the {self} cannot be written: {error}"))
    }
}

impl fmt::Display for OutputName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.path.display())
    }
}

/// A file that was emptied, to be written.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) file: File,
    pub(super) name: OutputName,
}

impl Begun {
    /// A file that stands nowhere: what is said of it says `of` what it is.
    pub(super) fn unnamed(file: File, what: &'static str, of: &str) -> Self {
        Begun { file, name: OutputName { what, path: of.into() } }
    }

    /// Writes all of it.
    pub(super) fn write(
        mut self,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Failure> {
        write(&mut self.file).map_err(|error| self.name.unwritable(&error))
    }
}

/// A file by its name, for [`Destination::differs_from`].
pub(super) fn identity(path: &Path) -> Option<(FileId, String)> {
    Some((FileId::of(&fs::metadata(path).ok()?)?, path.display().to_string()))
}

/// An open file, for [`Destination::differs_from`].
pub(super) fn identity_of(file: &File, what: &str) -> Option<(FileId, String)> {
    Some((FileId::of(&file.metadata().ok()?)?, what.to_owned()))
}

/// Standard output, if it is a file.
pub(super) fn standard_output() -> Option<(FileId, String)> {
    let id = FileId::of(&fs::metadata("/proc/self/fd/1").ok()?)?;
    Some((id, "standard output".into()))
}

/// Opens without emptying; whether it was made.
fn open(path: &Path, until: Option<Instant>, stop: &StopRequest) -> io::Result<(File, bool)> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return open_pipe(path, until, stop).map(|file| (file, false));
    }
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // create: a link may point to nothing.
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
            Ok((file, false))
        }
        Err(error) => Err(error),
    }
}

/// To open a pipe waits for its reader, for ever; this does until a time, or until a signal.
fn open_pipe(path: &Path, until: Option<Instant>, stop: &StopRequest) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    loop {
        match options.open(path) {
            Ok(file) => {
                let flags = rustix::fs::fcntl_getfl(&file)?;
                rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?;
                return Ok(file);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => return Err(error),
        }
        // A pipe without a name, such as /dev/stdout, finds no other reader.
        let nobody_comes = path.canonicalize().is_err();
        if nobody_comes || stop.is_requested() || until.is_some_and(|until| Instant::now() >= until)
        {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "nobody reads this pipe"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_for_nothing_goes_and_what_was_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new");
        drop(Destination::open(&new, "trace", None, &StopRequest::default()).unwrap());
        assert!(!new.exists());
        let old = folder.path().join("old");
        fs::write(&old, "kept").unwrap();
        drop(Destination::open(&old, "trace", None, &StopRequest::default()).unwrap());
        assert_eq!(fs::read(&old).unwrap(), b"kept");
        drop(
            Destination::open(&old, "trace", None, &StopRequest::default())
                .unwrap()
                .begin()
                .unwrap(),
        );
        assert_eq!(fs::read(&old).unwrap(), b"");
    }

    #[test]
    fn a_file_is_known_by_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        fs::write(&one, "x").unwrap();
        fs::hard_link(&one, &other).unwrap();
        let (_, id) = read(&one).unwrap();
        let destination =
            Destination::open(&other, "trace", None, &StopRequest::default()).unwrap();
        let inputs = [(id.unwrap(), "the kernel".to_owned())];
        let error = destination.differs_from(&inputs).unwrap_err().to_string();
        assert!(error.contains("is the same file as the kernel"), "{error}");
    }
}

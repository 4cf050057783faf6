//! A copy of the program in memory, for a machine on which each start of a program reads its file anew.
//!
//! Such a machine is the portable host: the files of the machine around it come by 9p, and no page of one is kept from
//! one start to the next. A run of `esp0` takes three seconds there, and a third of a second with the program in
//! memory. The tests start it hundreds of times.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

const MEMORY: &str = "/dev/shm";
/// How often a copy may be gone again before it was held.
const ATTEMPTS: u32 = 5;
/// How the folders of copies are called.
const PREFIX: &str = "esp0-tests-";

/// Where to start `program` from: a copy that all tests of this machine share, if its own file comes by 9p.
///
/// The copy stays where it is for the tests to come. One that no test holds any longer goes as the next is made.
///
/// # Errors
/// If the files cannot be looked at or be copied.
pub(crate) fn staged(program: &Path) -> io::Result<PathBuf> {
    let memory = Path::new(MEMORY);
    if !is_on(program, "9p")? || !is_on(memory, "tmpfs").unwrap_or(false) {
        return Ok(program.to_owned());
    }
    let file = fs::metadata(program)?;
    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
    let folder = memory.join(format!("{PREFIX}{seconds:x}-{nanoseconds:x}-{:x}", file.size()));
    let copy = in_folder(&folder);
    // Whoever removes an old copy may be faster than the lock.
    for _ in 0..ATTEMPTS {
        if hold(&copy) {
            return Ok(copy);
        }
        make(program, &folder)?;
    }
    Err(io::Error::other(format!("{} does not stay; remove {}", copy.display(), folder.display())))
}

/// The copy lies as the program does: `target/PROFILE/esp0`.
fn in_folder(folder: &Path) -> PathBuf {
    folder.join("profile/esp0")
}

/// Whether this file lies on a file system of this type, by `/proc/self/mountinfo` (`proc`(5)): `statfs` on 9p tells
/// the type that the file has on the other machine.
fn is_on(path: &Path, kind: &str) -> io::Result<bool> {
    let device = fs::metadata(path)?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().filter_map(|mount| mount.split_once(" - ")).any(|(mount, source)| {
        mount.split(' ').nth(2) == Some(&device) && source.split(' ').next() == Some(kind)
    }))
}

/// Keeps this copy from being removed until the test has ended. False if it is not there.
fn hold(copy: &Path) -> bool {
    static HELD: OnceLock<File> = OnceLock::new();
    let Ok(file) = File::open(copy) else { return false };
    let held = file.lock_shared().is_ok() && copy.exists();
    if held {
        let _ = HELD.set(file);
    }
    held
}

fn make(program: &Path, folder: &Path) -> io::Result<()> {
    remove_unused()?;
    let unfinished = folder.with_extension(std::process::id().to_string());
    let copy = in_folder(&unfinished);
    fs::create_dir_all(copy.parent().expect("it lies in a folder"))?;
    let mut file = File::create(&copy)?;
    file.lock_shared()?;
    io::copy(&mut File::open(program)?, &mut file)?;
    fs::set_permissions(&copy, fs::metadata(program)?.permissions())?;
    if let Some(target) = program.ancestors().nth(2) {
        std::os::unix::fs::symlink(target.join("twins"), unfinished.join("twins"))?;
    }
    // Another test may have been faster, and its copy is as good.
    fs::rename(&unfinished, folder).or_else(|_| fs::remove_dir_all(&unfinished))
}

fn remove_unused() -> io::Result<()> {
    for entry in fs::read_dir(MEMORY)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let unused =
            || File::open(in_folder(&entry.path())).is_ok_and(|file| file.try_lock().is_ok());
        if ours && unused() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

//! Makes the twins: a copy of the kernel for each patch, and one cargo that builds all of them.

#[path = "../../guest/inner_cargo.rs"]
mod inner_cargo;
mod patch;

use inner_cargo::inner_cargo;
use patch::Patch;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The kernels that have twins: each a folder of the guest workspace, and one of patches here.
const KERNELS: [&str; 2] = ["micro", "classic"];

/// What else of the guest workspace they are built from.
const SHARED: [&str; 7] =
    ["abi", "arch", "classic-user", "Cargo.toml", "Cargo.lock", ".cargo", "inner_cargo.rs"];

fn main() {
    if let Err(why) = make() {
        println!("cargo::error={why}");
    }
}

fn make() -> Result<(), String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let guest = here.ancestors().nth(2).expect("it lies in the repository").join("guest");
    // OUT_DIR is <target>/<profile>/build/<package>/out.
    let target = out.ancestors().nth(4).expect("OUT_DIR lies in the target folder");
    let kernels = target.join("twins");
    println!("cargo::rustc-env=ESP0_TWINS={}", kernels.display());
    for source in SHARED.iter().chain(&KERNELS) {
        println!("cargo::rerun-if-changed={}", guest.join(source).display());
    }
    for source in ["build.rs", "patch.rs"].iter().chain(&KERNELS) {
        println!("cargo::rerun-if-changed={source}");
    }

    let workspace = out.join("workspace");
    let mut twins = BTreeSet::new();
    for kernel in KERNELS {
        for patch in files(&here.join(kernel)).map_err(text)? {
            let name = patch.to_str().and_then(|name| name.strip_suffix(".patch"));
            let name = name
                .ok_or_else(|| format!("tests/twins/{kernel}/{} is no patch", patch.display()))?;
            let path = here.join(kernel).join(&patch);
            let twin = format!("{kernel}-{name}");
            let refused = |why| {
                format!("tests/twins/{kernel}/{name}.patch does not fit guest/{kernel}: {why}")
            };
            let patch = Patch::read(&fs::read_to_string(path).map_err(text)?).map_err(refused)?;
            copy(&guest.join(kernel), &workspace.join(&twin), &patch, kernel, &twin)
                .map_err(refused)?;
            twins.insert(twin);
        }
    }
    let manifest = fs::read_to_string(guest.join("Cargo.toml")).map_err(text)?;
    write(&workspace.join("Cargo.toml"), manifest_of(&manifest, &twins, &guest)).map_err(text)?;
    // The versions of what comes from outside; cargo itself adds the twins to the list.
    fs::copy(guest.join("Cargo.lock"), workspace.join("Cargo.lock")).map_err(text)?;
    build(&guest, &workspace, &target.join("guest-twins"))?;
    let built = target.join("guest-twins/i586-unknown-linux-gnu/release");
    keep_only(&kernels, &twins).map_err(text)?;
    for twin in &twins {
        let bytes =
            fs::read(built.join(twin)).map_err(|why| format!("{twin} was not built: {why}"))?;
        write(&kernels.join(twin), &bytes).map_err(text)?;
    }
    Ok(())
}

fn build(guest: &Path, workspace: &Path, target: &Path) -> Result<(), String> {
    let mut cargo = inner_cargo(workspace, target);
    cargo.arg("--config").arg(guest.join(".cargo/config.toml"));
    // A quarter of the time, and nobody measures how fast a twin is.
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    let output = cargo.output().expect("cargo can be started");
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    let which =
        said.lines().find_map(|line| line.split("could not compile `").nth(1)?.split('`').next());
    Err(match which {
        Some(twin) => {
            format!("the twin {twin} does not compile: its patch in tests/twins/ has to be made anew")
        }
        None => "the twins do not build: is the target i586-unknown-linux-gnu installed (scripts/setup)?".into(),
    })
}

/// Copies a kernel's folder, with the changes of the patch, as a package of another name.
fn copy(from: &Path, to: &Path, patch: &Patch, kernel: &str, twin: &str) -> Result<(), String> {
    let mut missing: BTreeSet<&str> = patch.paths().collect();
    let mut kept = BTreeSet::new();
    for path in files(from).map_err(text)? {
        let name = path.to_str().ok_or("a file's name is not text")?;
        let source = fs::read_to_string(from.join(name)).map_err(text)?;
        let source = match name {
            "Cargo.toml" => {
                source.replace(&format!("name = \"{kernel}\""), &format!("name = \"{twin}\""))
            }
            _ => patch.apply(name, &source)?,
        };
        write(&to.join(name), source.as_bytes()).map_err(text)?;
        missing.remove(name);
        kept.insert(name.to_owned());
    }
    match missing.first() {
        Some(path) => Err(format!("there is no {path}")),
        None => keep_only(to, &kept).map_err(text),
    }
}

/// The guest workspace's manifest, with the twins for members and what they use where it is.
fn manifest_of(manifest: &str, twins: &BTreeSet<String>, guest: &Path) -> Vec<u8> {
    let members = twins.iter().map(|twin| format!("{twin:?}")).collect::<Vec<_>>().join(", ");
    let path = |line: &str| line.replace("path = \"", &format!("path = \"{}/", guest.display()));
    let mut text = String::new();
    for line in manifest.lines() {
        text += &match line {
            _ if line.starts_with("members = ") => format!("members = [{members}]"),
            _ => path(line),
        };
        text.push('\n');
    }
    text.into_bytes()
}

/// The paths of all files below a folder, in it.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a file if it would be another: cargo goes by the time of the last change.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let bytes = bytes.as_ref();
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
    fs::write(path, bytes)
}

/// Removes the files of a folder that are not of these.
fn keep_only(folder: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for path in files(folder)? {
        if path.to_str().is_none_or(|name| !names.contains(name)) {
            fs::remove_file(folder.join(path))?;
        }
    }
    Ok(())
}

fn text(error: io::Error) -> String {
    error.to_string()
}

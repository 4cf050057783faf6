//! Builds the small kernels of `c`, each `#ifdef NAME` of a file one, in the variants that tests ask for. Where KVM is in
//! an emulated machine a compiler there would take most of the tests' time.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What is added for each variant.
const VARIANTS: [(&str, &[&str]); 4] =
    [("plain", &[]), ("mended", &["-DMENDED"]), ("stripped", &["-s"]), ("debug", &["-g", "-O0"])];

const FLAGS: &str = "-m32 -march=i586 -O1 -std=gnu11 -ffreestanding -fno-pic -fno-pie -fno-stack-protector \
    -fcf-protection=none -fno-asynchronous-unwind-tables -fno-optimize-sibling-calls -mgeneral-regs-only -w \
    -nostdlib -static -no-pie -Wl,--build-id=none,--no-warn-rwx-segments,-n";

/// Those of `c/cases`, a file each, which are built as their authors would.
const CASE: [&str; 4] = ["-g", "-O2", "-Wl,-T,c/cases/kernel.ld", "-Ic/cases"];

fn main() {
    println!("cargo::rerun-if-changed=c");
    let sources = Path::new("c");
    let out = std::env::var("OUT_DIR").expect("cargo names a folder for the output");
    let out = Path::new(&out).join("kernels");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("the folder can be made");
    println!("cargo::rustc-env=ESP0_TEST_KERNELS={}", out.display());
    let mut kernels = Vec::new();
    for path in files(sources) {
        let text = fs::read_to_string(&path).expect("the kernel is text");
        kernels.extend(names(&text).into_iter().map(|name| (path.clone(), name)));
    }
    for case in files(&sources.join("cases")) {
        let name = case.file_stem().and_then(|name| name.to_str()).expect("it has a name");
        build(&case, CASE, &out.join(format!("{name}.case")));
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some((source, name)) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (variant, more) in VARIANTS {
                let defined = format!("-D{name}");
                let flags = more.iter().copied().chain(["-Wl,-T,c/small.ld", &defined]);
                build(source, flags, &out.join(format!("{name}.{variant}")));
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
}

/// The files in C of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(folder).expect("the kernels are there");
    let paths = all.map(|entry| entry.expect("the folder can be read").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "c")).collect()
}

/// The names of the kernels in a file: those that its conditions ask for, `MENDED` aside.
fn names(text: &str) -> BTreeSet<String> {
    let conditions = text.lines().filter(|line| line.starts_with("#if"));
    let words = conditions.flat_map(|line| {
        line.split(|letter: char| {
            !(letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_')
        })
    });
    words.filter(|word| word.len() > 2 && *word != "MENDED").map(String::from).collect()
}

/// The kernel as `FILE.elf`; or what the compiler said, or why there was none, as `FILE.error`.
fn build<'a>(source: &Path, flags: impl IntoIterator<Item = &'a str>, file: &Path) {
    let output = Command::new("gcc")
        .args(FLAGS.split_whitespace())
        .args(flags)
        .arg("-o")
        .arg(file.with_extension(format!("{}.elf", extension(file))))
        .arg(source)
        .output();
    let (kind, text) = match output {
        Ok(output) if output.status.success() => return,
        Ok(output) => ("error", String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => ("missing", format!("gcc cannot be started ({error})")),
    };
    let file = file.with_extension(format!("{}.{kind}", extension(file)));
    fs::write(file, text).expect("the reason can be written");
}

fn extension(file: &Path) -> &str {
    file.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

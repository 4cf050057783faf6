//! QEMU's words for what esp0 is given, for whoever has them in a script already.
//!
//! | QEMU | esp0 |
//! | --- | --- |
//! | `-kernel FILE` | `run FILE` |
//! | `-append TEXT` | `--cmdline TEXT` |
//! | `-initrd "FILE ARGS,FILE ARGS"` | `--module` for each, two commas for one in a name |
//! | `-m 64`, `-m 64M`, `-m 1G`, `-m size=64M` | `--mem 64` |
//! | `-hda FILE` to `-hdd FILE` | `--disk FILE,index=0` to `3` |
//! | `-cdrom FILE` | `--cdrom FILE` |
//! | `-fda FILE`, `-fdb FILE` | `--floppy FILE` |
//! | `-drive file=FILE,index=N,media=disk,format=raw,if=ide` | the one or the other, with `readonly=on` `,ro` |
//! | `-boot c`, `-boot d`, `-boot order=dc` | `--boot disk`, `--boot cdrom`, of which the first counts |
//!
//! With drives and no kernel QEMU boots from a drive, and so does esp0 then. What the guest writes to a disk is kept
//! apart from the file, as with `--disk`; QEMU's way is `--disk FILE,rw`.
//!
//! They are put into esp0's words before clap sees them: to clap `-kernel` is `-k` and what belongs to it.

use super::failure::Failure;
use std::ffi::{OsStr, OsString};

/// The command line in esp0's own words.
pub(super) fn translate(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, Failure> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_command = |word: &OsStr| {
        word.to_str().is_some_and(|word| !word.starts_with('-')) && word != OsStr::new("run")
    };
    // What comes behind another command is that command's.
    if arguments.get(1).is_some_and(|word| is_command(word)) {
        return Ok(arguments);
    }
    let mut out: Vec<OsString> = arguments.drain(..arguments.len().min(1)).collect();
    let mut kernel = None;
    let (mut drives, mut boot) = (false, None);
    let mut rest = arguments.into_iter();
    while let Some(word) = rest.next() {
        let name = word.to_str().unwrap_or("").to_owned();
        match name.as_str() {
            "--" => {
                out.push(word);
                out.extend(rest.by_ref());
            }
            // Its text may begin with a hyphen.
            "--cmdline" => {
                out.push(word);
                out.extend(rest.next());
            }
            "-kernel" | "-append" | "-initrd" | "-m" => match (name.as_str(), rest.next()) {
                ("-kernel", Some(file)) => kernel = Some(file),
                ("-append", Some(text)) => out.push(joined("--cmdline=", &text)),
                ("-initrd", Some(files)) => out.extend(modules(&files)),
                (_, Some(size)) => out.push(joined("--mem=", &mebibytes(&size))),
                // clap says what is missing.
                (_, None) => out.push(word),
            },
            "-hda" | "-hdb" | "-hdc" | "-hdd" | "-cdrom" | "-drive" | "-boot" | "-fda" | "-fdb" => {
                match (name.as_str(), rest.next()) {
                    ("-boot", Some(order)) => boot = boot_order(&order)?.or(boot),
                    ("-cdrom", Some(file)) => {
                        drives = true;
                        out.push(joined("--cdrom=", &file));
                    }
                    ("-drive", Some(text)) => {
                        drives = true;
                        out.push(drive(&text)?);
                    }
                    ("-fda" | "-fdb", Some(file)) => {
                        drives = true;
                        out.push(joined("--floppy=", &file));
                    }
                    (_, Some(mut file)) => {
                        drives = true;
                        file.push(format!(",index={}", name.as_bytes()[3] - b'a'));
                        out.push(joined("--disk=", &file));
                    }
                    (_, None) => out.push(word),
                }
            }
            _ => out.push(word),
        }
    }
    if drives && kernel.is_none() {
        out.push(joined("--boot=", OsStr::new(boot.unwrap_or("any"))));
    }
    if let Some(kernel) = kernel {
        if out.get(1).is_none_or(|word| word != "run") {
            out.insert(1, "run".into());
        }
        out.insert(2, kernel);
    }
    Ok(out)
}

/// What QEMU's `-boot` begins with, by esp0's name for it; none where it tells no order.
fn boot_order(text: &OsStr) -> Result<Option<&'static str>, Failure> {
    let text = text.to_string_lossy();
    for part in text.split(',') {
        let order = match part.split_once('=') {
            Some(("order" | "once", order)) => order,
            Some(_) => continue,
            None => part,
        };
        return match order.chars().next() {
            Some('c') => Ok(Some("disk")),
            Some('d') => Ok(Some("cdrom")),
            Some('a') => Ok(Some("floppy")),
            _ => Err(Failure::Input(format!(
                "-boot {text}: esp0 boots from a disk (c), a CD (d) or a floppy disk (a)"
            ))),
        };
    }
    Ok(None)
}

/// What QEMU's `-drive` describes.
fn drive(text: &OsStr) -> Result<OsString, Failure> {
    let whole = text.to_string_lossy();
    let refuse = |why: String| Failure::Input(format!("-drive {whole}: {why}"));
    let (mut file, mut index, mut read_only) = (None, None, false);
    let (mut cdrom, mut floppy) = (false, false);
    for part in pieces(&whole) {
        let (key, value) = part.split_once('=').unwrap_or((&part, "on"));
        match (key, value) {
            ("file", name) => file = Some(name.to_owned()),
            ("index", number) => index = Some(number.to_owned()),
            ("media", "disk") | ("if", "ide" | "none") | ("format", "raw") => {}
            ("media", "cdrom") => cdrom = true,
            ("if", "floppy") => floppy = true,
            ("readonly" | "read-only", "on" | "off") => read_only = value == "on",
            ("id" | "cache" | "aio" | "snapshot" | "discard" | "werror" | "rerror", _) => {}
            ("format", other) => {
                return Err(refuse(format!(
                    "an image has to be raw, not {other}: qemu-img convert -O raw"
                )));
            }
            ("if", other) => {
                return Err(refuse(format!(
                    "this machine has IDE drives and floppy drives, not {other}"
                )));
            }
            _ => return Err(refuse(format!("{part} is not known here"))),
        }
    }
    let file = file.ok_or_else(|| refuse("it names no file=".into()))?;
    if cdrom {
        return Ok(format!("--cdrom={file}").into());
    }
    let read_only = if read_only { ",ro" } else { "" };
    if floppy {
        return Ok(format!("--floppy={file}{read_only}").into());
    }
    let index = index.map_or(String::new(), |index| format!(",index={index}"));
    Ok(format!("--disk={file}{read_only}{index}").into())
}

/// The parts between commas, of which two are one in a name.
fn pieces(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
    }
    parts
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// QEMU's list of modules, each with its arguments.
fn modules(files: &OsStr) -> Vec<OsString> {
    let Some(text) = files.to_str() else { return vec![joined("--module=", files)] };
    let modules = pieces(text);
    modules.iter().map(|module| joined("--module=", OsStr::new(module))).collect()
}

/// QEMU's size in MiB; what cannot be read is left for clap to refuse.
fn mebibytes(size: &OsStr) -> OsString {
    let read = || {
        let text = size.to_str()?.split(',').next()?;
        let text = text.strip_prefix("size=").unwrap_or(text);
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let number: u64 = digits.parse().ok()?;
        let bytes = match text[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "m" => number.checked_mul(1 << 20)?,
            "k" => number.checked_mul(1 << 10)?,
            "g" => number.checked_mul(1 << 30)?,
            "b" => number,
            _ => return None,
        };
        // No guest gets less than it asks for.
        Some(bytes.div_ceil(1 << 20).to_string().into())
    };
    read().unwrap_or_else(|| size.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &[&str]) -> Vec<String> {
        let words = std::iter::once("esp0").chain(line.iter().copied()).map(OsString::from);
        let words = translate(words).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        words.into_iter().skip(1).map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn drives_are_taken_with_qemus_words_and_booted_where_there_is_no_kernel() {
        assert_eq!(
            translated(&["run", "-hda", "a.img", "-hdb", "b.img", "-cdrom", "c.iso", "-boot", "d"]),
            [
                "run",
                "--disk=a.img,index=0",
                "--disk=b.img,index=1",
                "--cdrom=c.iso",
                "--boot=cdrom"
            ]
        );
        assert_eq!(
            translated(&["-kernel", "k", "-drive", "file=a,,b,index=1,media=disk,format=raw"]),
            ["run", "k", "--disk=a,b,index=1"]
        );
        assert_eq!(
            translated(&["-drive", "file=x.iso,media=cdrom", "-boot", "menu=on,order=dc"]),
            ["--cdrom=x.iso", "--boot=cdrom"]
        );
        assert_eq!(
            translated(&["-drive", "file=x,if=ide,readonly=on"]),
            ["--disk=x,ro", "--boot=any"]
        );
        assert_eq!(translated(&["-boot", "c", "-kernel", "k"]), ["run", "k"]);
        assert_eq!(translated(&["-hda"]), ["-hda"]);
    }

    #[test]
    fn what_this_machine_lacks_is_refused_in_a_sentence() {
        for (line, said) in [
            (["-drive", "file=x,format=qcow2"], "qcow2"),
            (["-drive", "file=x,if=virtio"], "virtio"),
            (["-drive", "media=disk"], "file="),
            (["-drive", "file=x,magic"], "magic"),
            (["-boot", "n"], "-boot n"),
        ] {
            let words = std::iter::once("esp0").chain(line).map(OsString::from);
            let error = translate(words).expect_err(said).to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn qemus_words_become_esp0s() {
        let line =
            ["-kernel", "k.elf", "-append", "-v root=1", "-initrd", "a x y,b,,c", "-m", "64"];
        assert_eq!(
            translated(&line),
            ["run", "k.elf", "--cmdline=-v root=1", "--module=a x y", "--module=b,c", "--mem=64"]
        );
        assert_eq!(translated(&["run", "-q", "-kernel", "k"]), ["run", "k", "-q"]);
    }

    #[test]
    fn sizes_are_taken_with_qemus_letters() {
        for (size, mebibytes) in
            [("64M", "64"), ("1G", "1024"), ("size=32m", "32"), ("65537K", "65"), ("much", "much")]
        {
            assert_eq!(translated(&["-m", size]), [format!("--mem={mebibytes}")]);
        }
    }

    #[test]
    fn all_else_is_left_as_it_is() {
        for line in [
            &["run", "k.elf", "--cmdline", "-m", "--quiet"][..],
            &["conform", "-m", "1"],
            &["-m"],
            &["--", "-kernel", "x"],
            &[],
        ] {
            assert_eq!(translated(line), line);
        }
    }
}

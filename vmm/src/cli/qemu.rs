//! QEMU's words for what esp0 is given, for whoever has them in a script already.
//!
//! | QEMU | esp0 |
//! | --- | --- |
//! | `-kernel FILE` | `run FILE` |
//! | `-append TEXT` | `--cmdline TEXT` |
//! | `-initrd "FILE ARGS,FILE ARGS"` | `--module` for each, two commas for one in a name |
//! | `-m 64`, `-m 64M`, `-m 1G`, `-m size=64M` | `--mem 64` |
//!
//! They are put into esp0's words before clap sees them: to clap `-kernel` is `-k` and what belongs to it.

use std::ffi::{OsStr, OsString};

/// The command line in esp0's own words.
pub(super) fn translate(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let is_command = |word: &OsStr| {
        word.to_str().is_some_and(|word| !word.starts_with('-')) && word != OsStr::new("run")
    };
    // What comes behind another command is that command's.
    if arguments.get(1).is_some_and(|word| is_command(word)) {
        return arguments;
    }
    let mut out: Vec<OsString> = arguments.drain(..arguments.len().min(1)).collect();
    let mut kernel = None;
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
            _ => out.push(word),
        }
    }
    if let Some(kernel) = kernel {
        if out.get(1).is_none_or(|word| word != "run") {
            out.insert(1, "run".into());
        }
        out.insert(2, kernel);
    }
    out
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// QEMU's list of modules, each with its arguments.
fn modules(files: &OsStr) -> Vec<OsString> {
    let Some(text) = files.to_str() else { return vec![joined("--module=", files)] };
    let mut modules = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == ',' && letters.next_if_eq(&',').is_none() {
            modules.push(String::new());
        } else if let Some(last) = modules.last_mut() {
            last.push(letter);
        }
    }
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
        translate(words).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect()
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

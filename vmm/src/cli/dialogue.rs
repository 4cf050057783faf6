//! The dialogue with the guest's console, as the user gives it: options in their order, or a file.

use super::arguments::RunOptions;
use super::failure::Failure;
use super::files::read;
use clap::ArgMatches;
use esp0::run::DialogueStep;
use std::path::Path;

/// `--until` and `--send` in the order in which they were given.
pub(super) fn from_options(matches: &ArgMatches) -> Result<Vec<DialogueStep>, Failure> {
    let mut steps: Vec<(usize, DialogueStep)> = Vec::new();
    for (option, step) in [
        ("until", DialogueStep::Expect as fn(String) -> DialogueStep),
        ("send", DialogueStep::Send),
    ] {
        let texts = matches.get_many::<String>(option).into_iter().flatten();
        for (text, index) in texts.zip(matches.indices_of(option).into_iter().flatten()) {
            let text = unescape(text).map_err(|why| problem(&format!("--{option}"), &why))?;
            if text.is_empty() {
                return Err(problem(&format!("--{option}"), "has no text"));
            }
            steps.push((index, step(text)));
        }
    }
    steps.sort_by_key(|(index, _)| *index);
    Ok(steps.into_iter().map(|(_, step)| step).collect())
}

/// What the options say of it, in a file or by themselves.
pub(super) fn asked_for(options: &RunOptions) -> Result<Vec<DialogueStep>, Failure> {
    match &options.dialogue {
        Some(path) => from_file(path),
        None => Ok(options.steps.clone()),
    }
}

/// The lines of a file: `expect TEXT`, `send TEXT`, and comments behind `#`.
fn from_file(path: &Path) -> Result<Vec<DialogueStep>, Failure> {
    let (bytes, _) = read(path)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::Input(format!("{} is no text: {error}", path.display())))?;
    parse(&text).map_err(|(line, why)| problem(&format!("{}:{line}:", path.display()), &why))
}

fn problem(what: &str, why: &str) -> Failure {
    Failure::Input(format!("{what} {why}"))
}

fn parse(text: &str) -> Result<Vec<DialogueStep>, (usize, String)> {
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = unescape(text).map_err(|why| (index + 1, why))?;
        steps.push(match word {
            "expect" | "send" if text.is_empty() => {
                return Err((index + 1, format!("`{word}` has no text")));
            }
            "expect" => DialogueStep::Expect(text),
            "send" => DialogueStep::Send(text),
            _ => return Err((index + 1, format!("`{word}` is neither `expect` nor `send`"))),
        });
    }
    Ok(steps)
}

/// `\n`, `\r`, `\t`, `\e`, `\\` and `\xNN` (up to 7f) stand for one character each.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('e') => '\x1b',
            Some('\\') => '\\',
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                let value = u8::from_str_radix(&digits, 16).ok().filter(u8::is_ascii);
                value.filter(|_| digits.len() == 2).ok_or_else(|| {
                    format!("has \\x{digits}, which is no number of two digits up to 7f")
                })? as char
            }
            Some(other) => return Err(format!("has \\{other}, which stands for nothing")),
            None => return Err("ends with a backslash".into()),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_step_a_line() {
        let text = "# log in\nexpect login: \n\n  send root\\n\nexpect \\x24 \n";
        assert_eq!(
            parse(text),
            Ok(vec![
                DialogueStep::Expect("login: ".into()),
                DialogueStep::Send("root\n".into()),
                DialogueStep::Expect("$ ".into())
            ])
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        for (text, line, says) in [
            ("expect a\nwait 3", 2, "`wait` is neither"),
            ("send", 1, "`send` has no text"),
            ("send a\\q", 1, "\\q"),
            ("send a\\x9", 1, "\\x9"),
            ("send \\", 1, "backslash"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert!(at == line && why.contains(says), "{text:?}: {at}: {why}");
        }
    }
}

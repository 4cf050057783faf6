//! Unified diffs, applied exactly.
//!
//! The lines that a hunk expects have to be there, all of them and unchanged; only where in the file they stand may
//! have changed. What `patch` calls fuzz could put a lie in a place where it is none.

/// A diff: of each file, what is changed in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    files: Vec<File>,
}

#[derive(Debug, PartialEq, Eq)]
struct File {
    path: String,
    hunks: Vec<Hunk>,
}

/// Lines that stand in a file, and what stands there afterwards.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hunk {
    /// The number of the first line, from 1, in the file as it was when the diff was made.
    first: usize,
    before: Vec<String>,
    after: Vec<String>,
}

impl Patch {
    /// Reads a diff; what stands above its first file is for people.
    ///
    /// # Errors
    /// What is no diff, in words.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut files: Vec<File> = Vec::new();
        for line in text.lines() {
            let hunks = files.last_mut().map(|file| &mut file.hunks);
            if line.starts_with("--- ") {
                continue;
            } else if let Some(path) = line.strip_prefix("+++ b/") {
                files.push(File { path: path.to_owned(), hunks: Vec::new() });
            } else if let Some(hunks) = hunks {
                if line.starts_with("@@ ") {
                    let first = first_line(line).ok_or_else(|| format!("has the line {line:?}"))?;
                    hunks.push(Hunk { first, ..Hunk::default() });
                    continue;
                }
                let hunk = hunks.last_mut().ok_or_else(|| format!("has no hunk at {line:?}"))?;
                let rest = || line.get(1..).unwrap_or_default().to_owned();
                // An editor may have cut the space off an empty line.
                match line.bytes().next() {
                    Some(b' ') | None => {
                        hunk.before.push(rest());
                        hunk.after.push(rest());
                    }
                    Some(b'-') => hunk.before.push(rest()),
                    Some(b'+') => hunk.after.push(rest()),
                    _ => return Err(format!("has the line {line:?}")),
                }
            }
        }
        match files.iter().all(|file| !file.hunks.is_empty()) && !files.is_empty() {
            true => Ok(Patch { files }),
            false => Err("changes nothing".to_owned()),
        }
    }

    /// The files that it changes.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.path.as_str())
    }

    /// The text of a file with what is changed in it.
    ///
    /// # Errors
    /// Where lines are expected that are not there, in words.
    pub(crate) fn apply(&self, path: &str, text: &str) -> Result<String, String> {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        let hunks = self.files.iter().filter(|file| file.path == path).flat_map(|file| &file.hunks);
        // How much further down than expected the lines stand, after what was changed above.
        let mut moved = 0;
        for hunk in hunks {
            let expected = (hunk.first - 1).saturating_add_signed(moved);
            let fits = |at: &usize| lines[*at..].starts_with(&hunk.before);
            let at = (0..lines.len()).filter(fits).min_by_key(|at| at.abs_diff(expected));
            let Some(at) = at else {
                return Err(format!("{path} has no longer the lines around line {}", hunk.first));
            };
            moved = at.wrapping_sub(hunk.first - 1).cast_signed() + hunk.after.len().cast_signed()
                - hunk.before.len().cast_signed();
            lines.splice(at..at + hunk.before.len(), hunk.after.iter().cloned());
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// The first number in `@@ -FIRST,COUNT +FIRST,COUNT @@`.
fn first_line(header: &str) -> Option<usize> {
    let digits = header.strip_prefix("@@ -")?.split([',', ' ']).next()?;
    digits.parse().ok().filter(|first| *first > 0)
}

#[cfg(test)]
mod tests {
    use super::Patch;

    const TEXT: &str = "one\ntwo\nthree\nfour\nfive\n";
    const DIFF: &str =
        "What is wrong.\n\n--- a/x\n+++ b/x\n@@ -2,3 +2,4 @@\n two\n-three\n+3\n+3.5\n four\n";

    fn patch(text: &str) -> Patch {
        Patch::read(text).expect("it is a diff")
    }

    #[test]
    fn lines_are_exchanged_where_they_stand_now() {
        assert_eq!(patch(DIFF).apply("x", TEXT), Ok("one\ntwo\n3\n3.5\nfour\nfive\n".into()));
        let moved = format!("zero\n{TEXT}");
        assert_eq!(
            patch(DIFF).apply("x", &moved),
            Ok("zero\none\ntwo\n3\n3.5\nfour\nfive\n".into())
        );
        assert_eq!(patch(DIFF).paths().collect::<Vec<_>>(), ["x"]);
    }

    #[test]
    fn of_several_places_the_nearest_is_meant() {
        let twice = "two\nthree\nfour\n\n\n\ntwo\nthree\nfour\n";
        let changed = patch(DIFF).apply("x", twice).expect("it fits");
        assert!(changed.starts_with("two\n3\n") && changed.ends_with("two\nthree\nfour\n"));
        let down = DIFF.replace("@@ -2,3 +2,4 @@", "@@ -9,3 +9,4 @@");
        let changed = patch(&down).apply("x", twice).expect("it fits");
        assert!(changed.starts_with("two\nthree\n") && changed.ends_with("two\n3\n3.5\nfour\n"));
    }

    #[test]
    fn a_second_change_knows_what_the_first_one_moved() {
        let two = format!("{DIFF}@@ -5,1 +6,1 @@\n-five\n+5\n");
        assert_eq!(patch(&two).apply("x", TEXT), Ok("one\ntwo\n3\n3.5\nfour\n5\n".into()));
    }

    #[test]
    fn a_changed_line_is_refused_by_its_place() {
        let changed = TEXT.replace("four", "four ");
        let error = patch(DIFF).apply("x", &changed).expect_err("it does not fit");
        assert_eq!(error, "x has no longer the lines around line 2");
    }

    #[test]
    fn what_is_no_diff_is_refused() {
        for text in ["", "What is wrong.\n", "--- a/x\n+++ b/x\n"] {
            assert_eq!(Patch::read(text), Err("changes nothing".into()), "{text:?}");
        }
        assert!(Patch::read("+++ b/x\n@@ -a @@\n").is_err());
        assert!(Patch::read("+++ b/x\n what\n").is_err());
        assert!(Patch::read("+++ b/x\n@@ -1,1 +1,1 @@\n?\n").is_err());
    }
}

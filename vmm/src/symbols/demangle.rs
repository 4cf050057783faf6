//! Names as their authors wrote them, of those that compilers have mangled: Rust's and, by the Itanium C++ ABI, those of
//! g++ and Clang.
//!
//! A name is a claim of the file's like all else there. A short one can stand for a type that takes gigabytes to
//! write down, so what is read, how deep it goes and what is written all have an end; a name beyond it stays as it is.

use cpp_demangle::{DemangleOptions, DemangleWrite, ParseOptions, Symbol};
use std::fmt;

/// C++ names that are longer are not read.
const LONGEST_READ: usize = 512;
/// What they stand for is not longer either.
const LONGEST_WRITTEN: usize = 4096;
/// How deep such a name is nested. It is enough for all but four in six thousand of libstdc++'s.
const DEEPEST: u32 = 32;
/// How often it may have the letters of an expression with `new`: the parser tries each of those in four ways, and in
/// each of these what is inside again. They are letters of other words too.
const MOST_NEW: usize = 10;

/// The path of a function or an object, without parameters, return type and hash; none if the name is not mangled.
pub(super) fn demangled(name: &str) -> Option<String> {
    match rustc_demangle::try_demangle(name) {
        Ok(path) => Some(format!("{path:#}")),
        Err(_) => of_cpp(name),
    }
}

fn of_cpp(name: &str) -> Option<String> {
    // Without its beginning a name would be read as a type: `i` as `int`.
    if !name.starts_with("_Z") || name.len() > LONGEST_READ {
        return None;
    }
    let pairs = name.as_bytes().windows(2);
    if pairs.filter(|pair| *pair == b"nw" || *pair == b"na").count() > MOST_NEW {
        return None;
    }
    let limits = ParseOptions::default().recursion_limit(DEEPEST);
    let symbol = Symbol::new_with_options(name.as_bytes(), &limits).ok()?;
    let wanted = DemangleOptions::new().no_params().no_return_type().recursion_limit(DEEPEST);
    let mut path = Bounded(String::new());
    symbol.structured_demangle(&mut path, &wanted).ok()?;
    let Bounded(path) = path;
    match path.strip_prefix("{vtable(").and_then(|path| path.strip_suffix(")}")) {
        Some(class) => Some(format!("vtable for {class}")),
        None => Some(path).filter(|path| !path.is_empty()),
    }
}

/// Text that refuses to become too long.
struct Bounded(String);

impl DemangleWrite for Bounded {
    fn write_string(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_WRITTEN {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// A path without its beginning: `idle::body` for `micro::task::idle::body`, and `Line::write_str`
/// for `<user::print::Line as core::fmt::Write>::write_str`. What a compiler has made for a class says so: `vtable for
/// task::Idle`.
pub(super) fn shortened(path: &str) -> String {
    const MADE: [&str; 4] = ["vtable", "typeinfo", "typeinfo name", "guard variable"];
    if let Some((what, path)) = path.split_once(" for ")
        && MADE.contains(&what)
    {
        return format!("{what} for {}", shortened(path));
    }
    let mut parts: Vec<&str> = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, letter) in path.char_indices() {
        match letter {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if path[..at].ends_with('-') => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            // Of three in a row the last is the next part's.
            ':' if depth == 0 && at >= start && path[at..].starts_with("::") => {
                parts.push(&path[start..at]);
                start = at + 2;
            }
            _ => {}
        }
    }
    parts.push(path.get(start..).unwrap_or_default());
    let last = parts.len().saturating_sub(2);
    let parts: Vec<String> = parts[last..].iter().map(|part| own_type(part)).collect();
    parts.join("::")
}

/// The type of `<Type as Trait>`, by the last part of its name.
fn own_type(part: &str) -> String {
    let Some(inner) = part.strip_prefix('<').and_then(|part| part.strip_suffix('>')) else {
        return part.to_owned();
    };
    let name = inner.split(" as ").next().unwrap_or(inner);
    let plain = name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, ':' | '_'));
    match name.rsplit("::").next() {
        Some(last) if plain => last.to_owned(),
        _ => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_in_odd_places_are_part_of_a_name() {
        for (path, short) in
            [("a::b::c", "b::c"), ("a:::b", "a:::b"), ("::::", "::"), (":", ":"), ("", "")]
        {
            assert_eq!(shortened(path), short, "{path}");
        }
    }
}

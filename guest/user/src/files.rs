//! The file server, as its clients see it; and programs as files.
//!
//! Without a file server the boot modules are the files, and can only be read.

use crate::arguments::{environment, variable};
use crate::call;
use crate::message::{self, Message};
use abi::layout::PAGE;
use abi::service::{error, files};
use abi::task::MESSAGE;
use alloc::string::String;
use alloc::vec::Vec;

/// The file server's task, if the environment names one.
pub fn server() -> Option<u32> {
    variable("files")?.parse().ok()
}

/// The name and length of the file with this number, if there are so many.
pub fn list(number: u32) -> Option<(String, u32)> {
    let Some(server) = server() else {
        let info = call::module_info(number).ok()?;
        return Some((String::from(module_name(&info.string)), info.length));
    };
    let mut name = [0; files::NAME];
    let question = Message::short(files::LIST, number, 0);
    let (answer, length) = message::call_for(server, question, &mut name).ok()?;
    let name = String::from_utf8_lossy(&name[..length]).into_owned();
    (answer.label == error::NO).then_some((name, answer.word))
}

fn module_name(string: &[u8]) -> &str {
    let end = string.iter().position(|&byte| byte == 0).unwrap_or(string.len());
    let text = str::from_utf8(&string[..end]).unwrap_or("");
    let path = text.split_ascii_whitespace().next().unwrap_or("");
    path.rsplit('/').next().unwrap_or(path)
}

/// All bytes of a file.
pub fn read(name: &str) -> Option<Vec<u8>> {
    let Some(server) = server() else { return read_module(name) };
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; MESSAGE as usize];
        let question = Message::long(files::READ, bytes.len() as u32, name.as_bytes());
        let (answer, length) = message::call_for(server, question, &mut piece).ok()?;
        if answer.label != error::NO {
            return None;
        }
        bytes.try_reserve_exact((answer.word as usize).saturating_sub(bytes.len())).ok()?;
        bytes.extend_from_slice(&piece[..length]);
        if length == 0 || bytes.len() >= answer.word as usize {
            return Some(bytes);
        }
    }
}

fn read_module(name: &str) -> Option<Vec<u8>> {
    let mut modules = (0..).map_while(|index| Some((index, call::module_info(index).ok()?)));
    let (index, info) = modules.find(|(_, info)| module_name(&info.string) == name)?;
    let mut bytes = Vec::new();
    let length = info.length as usize;
    bytes.try_reserve_exact(length).ok()?;
    // SAFETY: as many bytes as there is room for, all of which the kernel writes or the call fails.
    unsafe {
        let room = core::slice::from_raw_parts_mut(bytes.as_mut_ptr(), length);
        if call::module(index, 0, room).ok()? as usize != length {
            return None;
        }
        bytes.set_len(length);
    }
    Some(bytes)
}

/// Puts bytes into a file, which is made if it is not there; gives the server's error, or 0.
pub fn write(name: &str, bytes: &[u8]) -> u32 {
    let Some(server) = server() else { return error::READ_ONLY };
    let most = MESSAGE as usize - files::NAME - 1;
    let mut done = 0;
    loop {
        let piece = &bytes[done..bytes.len().min(done + most)];
        let mut message = Vec::with_capacity(name.len() + 1 + piece.len());
        message.extend_from_slice(name.as_bytes());
        message.push(0);
        message.extend_from_slice(piece);
        match message::call(server, Message::long(files::WRITE, done as u32, &message)) {
            Ok(answer) if answer.label == error::NO => done += piece.len(),
            Ok(answer) => return answer.label,
            Err(_) => return error::BAD,
        }
        if done == bytes.len() {
            return error::NO;
        }
    }
}

/// Removes a file; gives the server's error, or 0.
pub fn remove(name: &str) -> u32 {
    let Some(server) = server() else { return error::READ_ONLY };
    match message::call(server, Message::long(files::REMOVE, 0, name.as_bytes())) {
        Ok(answer) => answer.label,
        Err(_) => error::BAD,
    }
}

/// Goes on as the program in a file, with these words and the same environment. Comes back only if
/// that cannot be.
pub fn exec(words: &[&str]) -> abi::call::Error {
    exec_with(words, environment())
}

/// As [`exec`], with another environment.
pub fn exec_with<'a>(
    words: &[&str],
    environment: impl Iterator<Item = &'a str>,
) -> abi::call::Error {
    let Some(image) = words.first().and_then(|name| read(name)) else {
        return abi::call::Error::BadProgram;
    };
    let mut strings = Vec::new();
    let mut add = |string: &str| {
        strings.extend_from_slice(string.as_bytes());
        strings.push(0);
    };
    words.iter().for_each(|word| add(word));
    environment.for_each(&mut add);
    call::exec(&image, &strings, words.len() as u32)
}

/// Starts the program in a file as a child; gives its task. A child that cannot exec exits with
/// [`NO_PROGRAM`].
pub fn spawn(words: &[&str]) -> Result<u32, abi::call::Error> {
    match call::fork()? {
        Some(child) => Ok(child),
        None => {
            exec(words);
            call::exit(NO_PROGRAM)
        }
    }
}

/// The exit status of a child that found no program to become.
pub const NO_PROGRAM: i32 = 127;

const _: () = assert!(MESSAGE <= PAGE);

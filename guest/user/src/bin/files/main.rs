//! `files` keeps files: see [`abi::service::files`].
//!
//! The boot modules are files that can only be read; their bytes stay where the loader put them, and
//! the kernel is asked for them. Files that are written live on a disk in memory ([`disk`]).

#![no_std]
#![no_main]

extern crate alloc;

mod disk;

use abi::service::{error, files, names};
use abi::task::MESSAGE;
use disk::Disk;
use user::call;
use user::message::{self, KERNEL, Message};

user::program!(main);

fn main(_: user::Arguments) -> i32 {
    let mut buffer = alloc::vec![0; MESSAGE as usize];
    let mut answer = alloc::vec![0; MESSAGE as usize];
    let Some(mut disk) = Disk::format() else { return 1 };
    if message::set_buffer(&mut buffer).is_err() {
        return 1;
    }
    if let Some(names) = user::variable("names").and_then(|id| id.parse().ok()) {
        let _ = message::call(names, Message::long(names::REGISTER, 0, b"files"));
    }
    let mut last = message::receive(0);
    loop {
        let Ok((from, message)) = last else { return 1 };
        if from == KERNEL {
            last = message::receive(0);
            continue;
        }
        let bytes = &buffer[..message.length as usize];
        let reply = match message.label {
            files::LIST => list(&disk, message.word, &mut answer),
            files::READ => read(&disk, bytes, message.word, &mut answer),
            files::WRITE => short(write(&mut disk, bytes, message.word)),
            files::REMOVE => short(disk.remove(bytes)),
            _ => short(error::BAD),
        };
        last = message::reply_receive(from, reply);
    }
}

fn short(error: u32) -> Message {
    Message::short(error, 0, 0)
}

/// The boot modules come first, then the disk's files.
fn list(disk: &Disk, number: u32, answer: &mut [u8]) -> Message {
    if let Ok(info) = call::module_info(number) {
        let name = module_name(&info.string);
        let name = &name[..name.len().min(files::NAME)];
        answer[..name.len()].copy_from_slice(name);
        return Message::long(error::NO, info.length, &answer[..name.len()]);
    }
    let modules = (0..number).take_while(|&index| call::module_info(index).is_ok()).count() as u32;
    match disk.entry(number - modules) {
        Some((name, length)) => {
            answer[..name.len()].copy_from_slice(name);
            Message::long(error::NO, length, &answer[..name.len()])
        }
        None => short(error::NONE),
    }
}

fn read(disk: &Disk, name: &[u8], offset: u32, answer: &mut [u8]) -> Message {
    if let Some((index, length)) = module(name) {
        if offset > length {
            return short(error::BAD);
        }
        return match call::module(index, offset, answer) {
            Ok(count) => Message::long(error::NO, length, &answer[..count as usize]),
            Err(_) => short(error::BAD),
        };
    }
    match disk.read(name, offset, answer) {
        Some((length, count)) => Message::long(error::NO, length, &answer[..count]),
        None => short(error::NONE),
    }
}

fn write(disk: &mut Disk, bytes: &[u8], offset: u32) -> u32 {
    let Some(end) = bytes.iter().position(|&byte| byte == 0) else { return error::BAD };
    let (name, contents) = (&bytes[..end], &bytes[end + 1..]);
    match module(name) {
        Some(_) => error::READ_ONLY,
        None => disk.write(name, offset, contents),
    }
}

/// The boot module with this name: its number and length.
fn module(name: &[u8]) -> Option<(u32, u32)> {
    (0..).map_while(|index| Some((index, call::module_info(index).ok()?))).find_map(
        |(index, info)| (module_name(&info.string) == name).then_some((index, info.length)),
    )
}

/// The first word of a module's string, without folders.
fn module_name(string: &[u8]) -> &[u8] {
    let word = string.split(|&byte| byte == b' ' || byte == 0).next().unwrap_or(&[]);
    word.rsplit(|&byte| byte == b'/').next().unwrap_or(word)
}

//! `names` knows which task has which name: see [`abi::service::names`].
//!
//! A name belongs to who registers it first, until that task ends.

#![no_std]
#![no_main]

extern crate alloc;

use abi::service::{error, names};
use abi::task::TASKS;
use alloc::vec::Vec;
use user::call;
use user::message::{self, KERNEL, Message};

user::program!(main);

/// The longest name in bytes.
const LONGEST: usize = 32;

fn main(_: user::Arguments) -> i32 {
    let mut buffer = [0; LONGEST];
    let mut known: Vec<(Vec<u8>, u32)> = Vec::new();
    if message::set_buffer(&mut buffer).is_err() {
        return 1;
    }
    let mut last = message::receive(0);
    loop {
        let Ok((from, message)) = last else { return 1 };
        if from == KERNEL {
            last = message::receive(0);
            continue;
        }
        let name = &buffer[..(message.length as usize).min(LONGEST)];
        let owner = known.iter().position(|(known, _)| known == name);
        let answer = match (message.label, owner) {
            (names::REGISTER, Some(index)) if is_there(known[index].1) => (error::BAD, 0),
            (names::REGISTER, Some(index)) => {
                known[index].1 = from;
                (error::NO, 0)
            }
            (names::REGISTER, None) if !name.is_empty() && known.len() < TASKS as usize => {
                known.push((name.to_vec(), from));
                (error::NO, 0)
            }
            (names::REGISTER, None) => (error::FULL, 0),
            (names::FIND, Some(index)) if is_there(known[index].1) => (error::NO, known[index].1),
            (names::FIND, _) => (error::NONE, 0),
            _ => (error::BAD, 0),
        };
        last = message::reply_receive(from, Message::short(answer.0, answer.1, 0));
    }
}

fn is_there(task: u32) -> bool {
    let place = task & ((1 << abi::task::PLACE_BITS) - 1);
    matches!(call::inspect(place), Ok(Some(info)) if info.task == task)
}

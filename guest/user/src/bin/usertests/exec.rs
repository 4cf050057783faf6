//! exec: arguments, environment, and files that are no programs.

use crate::Case;
use crate::tools::report;
use abi::call::Error;
use abi::layout::PAGE;
use abi::task::EXITED;
use alloc::vec::Vec;
use user::{Arguments, call, files};

pub(crate) const CASES: &[Case] = &[
    ("exec_passes_arguments_and_environment", exec_passes_arguments_and_environment),
    ("exec_in_quantity", exec_in_quantity),
    ("exec_of_what_is_no_program", exec_of_what_is_no_program),
    ("exec_of_damaged_programs", exec_of_damaged_programs),
    ("exec_with_bad_strings", exec_with_bad_strings),
    ("exec_when_memory_is_used_up", exec_when_memory_is_used_up),
];

/// What this program does as its own child: its exit status says whether it was told what it should
/// have been.
pub(crate) fn child(arguments: Arguments) -> i32 {
    let told = arguments.count() == 4
        && arguments.get(2) == Some("two words")
        && arguments.get(3) == Some("")
        && user::variable("COLOUR") == Some("green")
        && user::variable("EMPTY") == Some("")
        && user::environment().count() == 2;
    if told { 42 } else { 1 }
}

fn become_child() -> i32 {
    let environment = ["COLOUR=green", "EMPTY="];
    let error =
        files::exec_with(&["usertests", "--child", "two words", ""], environment.into_iter());
    user::println!("  exec: {error:?}");
    2
}

fn exec_passes_arguments_and_environment() -> bool {
    let report = report(become_child);
    check!(report.how == EXITED && report.status == 42, "{report:?}");
    true
}

fn exec_in_quantity() -> bool {
    for _ in 0..2 {
        check!(report(become_child).status == 42);
    }
    true
}

fn exec_of_what_is_no_program() -> bool {
    let strings = b"name\0";
    check!(call::exec(b"", strings, 1) == Error::BadProgram);
    check!(call::exec(b"#!/bin/sh", strings, 1) == Error::BadProgram);
    check!(call::exec(&[0; 4096], strings, 1) == Error::BadProgram);
    true
}

/// Each of these is refused, or a program that ends for what it does; the kernel stands.
fn exec_of_damaged_programs() -> bool {
    let Some(mut image) = files::read("usertests") else { return false };
    let damage: [(usize, u32); 12] = [
        (0, 0),
        (4, 0x0001_0102),
        (16, 0x0003_0001),
        (28, 0xFFFF_FFF0),
        (28, image.len() as u32 - 8),
        (42, 0xFFFF_0020),
        (52 + 4, 0xFFFF_F000),
        (52 + 8, 0xC000_0000),
        (52 + 8, 0xBFFF_F000),
        (52 + 8, 0),
        (52 + 16, 0x7FFF_FFFF),
        (52 + 20, 0xF000_0000),
    ];
    for (at, word) in damage {
        let good = [image[at], image[at + 1], image[at + 2], image[at + 3]];
        image[at..at + 4].copy_from_slice(&word.to_le_bytes());
        let error = call::exec(&image, b"damaged\0", 1);
        image[at..at + 4].copy_from_slice(&good);
        check!(matches!(error, Error::BadProgram | Error::NoMemory), "{at}: {error:?}");
    }
    check!(call::exec(&image[..200], b"cut\0", 1) == Error::BadProgram);
    true
}

fn exec_with_bad_strings() -> bool {
    let Some(image) = files::read("usertests") else { return false };
    check!(call::exec(&image, b"no end", 1) == Error::BadArgument);
    check!(call::exec(&image, b"one\0", 2) == Error::BadArgument);
    check!(call::exec(&image, b"", 1) == Error::BadArgument);
    let long = alloc::vec![b'x'; PAGE as usize];
    check!(call::exec(&image, &long, 1) == Error::TooLong);
    let many: Vec<u8> = core::iter::repeat_n(*b"x\0", 100).flatten().collect();
    check!(call::exec(&image, &many, 100) == Error::TooLong);
    true
}

fn exec_when_memory_is_used_up() -> bool {
    let report = report(|| {
        let Some(image) = files::read("usertests") else { return 1 };
        while call::grow(1 << 16).is_ok() {}
        while call::grow(PAGE as i32).is_ok() {}
        let before = call::counters().frames;
        let error = call::exec(&image, b"name\0", 1);
        i32::from(error != Error::NoMemory) + 2 * i32::from(call::counters().frames != before)
    });
    check!(report.how == EXITED && report.status == 0, "{report:?}");
    true
}

//! Forks. Both twins count in the same variable, and each sees only its own steps: after the first
//! write each has a page of its own.

#![no_std]
#![no_main]

use unistd::{Arguments, Line, fork, pause, wait, write};

unistd::program!(main);

/// The error of a call that was given a bad address.
const BAD_ADDRESS: i32 = -14;

fn main(_: Arguments) -> i32 {
    // In memory, not in a register.
    let mut steps = 0;
    let steps = core::hint::black_box(&mut steps);
    let child = fork();
    let (name, length) = if child == Some(0) { ("child", 3) } else { ("parent", 2) };
    for _ in 0..length {
        *steps += 1;
        Line::new().text("twins: ").text(name).text(" at step ").number(*steps).end();
        pause();
    }
    if child == Some(0) {
        return *steps as i32;
    }
    // Beyond the end of its memory, and across it.
    if write(0xFFFF_FFF0, 4) != BAD_ADDRESS || write(0x03FF_FFFE, 4) != BAD_ADDRESS {
        return 1;
    }
    let mut status = 0;
    wait(&mut status);
    status
}

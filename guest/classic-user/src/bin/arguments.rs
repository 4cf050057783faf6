//! Prints its arguments and environment, from the end of its 64 MiB, and pauses in between.

#![no_std]
#![no_main]

use unistd::{Arguments, Line, getpid, pause};

unistd::program!(main);

fn main(arguments: Arguments) -> i32 {
    let mut count = 0;
    for word in arguments.words() {
        Line::new().text("arguments: pid ").number(getpid()).text(" was told ").text(word).end();
        pause();
        count += 1;
    }
    count
}

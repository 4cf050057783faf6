//! `writer [LINES]` writes lines, and lets others run in between.

#![no_std]
#![no_main]

use user::call;

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    let lines = arguments.number(1, 4);
    for line in 1..=lines {
        user::println!("writer: line {line} of {lines} from task {}", call::getpid());
        call::yield_now();
    }
    0
}

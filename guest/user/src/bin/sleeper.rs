//! `sleeper [TICKS]` sleeps, says so, and exits.

#![no_std]
#![no_main]

use user::call;

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    let ticks = arguments.number(1, 6);
    user::println!("sleeper: good night");
    match call::sleep(ticks) {
        Ok(()) => user::println!("sleeper: slept through {ticks} ticks"),
        Err(error) => user::println!("sleeper: {error:?}"),
    }
    0
}

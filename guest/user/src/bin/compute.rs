//! `compute [STEPS]` only computes, at four instructions a step, and says once what came out. It is
//! there to be pre-empted, and to show by its result that this did it no harm.

#![no_std]
#![no_main]

user::program!(main);

/// How many steps if nothing is said: some thirty ticks of the deterministic clock.
const STEPS: u32 = 2000;

fn main(arguments: user::Arguments) -> i32 {
    let steps = arguments.number(1, STEPS);
    let end = (0..steps).fold(0, |value, _| next(value));
    user::println!("compute: {steps} steps from 00000000 to {end:08x}");
    0
}

/// The linear congruential generator of "Numerical Recipes", 2nd edition, section 7.1.
const fn next(value: u32) -> u32 {
    value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

const _: () = assert!(next(0) == 0x3C6E_F35F && next(next(0)) == 0x4750_2932);

//! `compute [LIMIT]` counts the primes below a limit, by division: it only computes, and says what
//! came out. It is there to be pre-empted.

#![no_std]
#![no_main]

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    let limit = arguments.number(1, 200);
    let primes = (2..limit).filter(|&number| is_prime(number)).count();
    user::println!("compute: {primes} primes below {limit}");
    0
}

fn is_prime(number: u32) -> bool {
    (2..)
        .take_while(|divisor| divisor * divisor <= number)
        .all(|divisor| !number.is_multiple_of(divisor))
}

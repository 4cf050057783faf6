//! `syscalls SEED COUNT` makes system calls at random, with arguments at random: numbers, the
//! program's own memory, and addresses at and beyond every edge. The kernel has to answer each one.
//!
//! A worker makes them, in batches, and without rights, so that it cannot power the machine off. It
//! may well destroy itself; then another one goes on with the next batch. Only batches that were
//! completed are counted.

#![no_std]
#![no_main]

use abi::call::Call;
use abi::layout::{KERNEL, PAGE, PROGRAM, STACK_SIZE, STACK_TOP, STACKS_START};
use core::cell::UnsafeCell;
use user::random::Random;
use user::{call, message, println};

user::program!(main);

/// How many calls a worker makes.
const BATCH: u32 = 500;

/// Memory for the kernel to write to.
#[repr(C, align(4096))]
struct Playground(UnsafeCell<[u8; 3 * PAGE as usize]>);

// SAFETY: nobody reads or writes it but the kernel.
unsafe impl Sync for Playground {}

static PLAYGROUND: Playground = Playground(UnsafeCell::new([0; 3 * PAGE as usize]));

fn main(arguments: user::Arguments) -> i32 {
    let (seed, count) = (arguments.number(1, 1), arguments.number(2, 2000));
    println!("syscalls: seed {seed}, {count} calls");
    let before = call::counters();
    let (mut done, mut lost) = (0, 0);
    let mut random = Random::new(seed);
    while done < count {
        let seed = random.word();
        let batch = BATCH.min(count - done);
        match call::fork() {
            Ok(None) => {
                call::restrict(0);
                work(Random::new(seed), batch);
                call::exit(STATUS)
            }
            Ok(Some(worker)) => match watch(worker) {
                true => done += batch,
                false => lost += 1,
            },
            Err(error) => {
                println!("syscalls: no worker: {error:?}");
                return 1;
            }
        }
    }
    // Orphans of the last workers.
    for _ in 0..100 {
        if call::counters().tasks == before.tasks {
            break;
        }
        let _ = call::sleep(1);
    }
    let after = call::counters();
    println!("syscalls: {done} made, and {lost} batches that were not completed");
    println!("syscalls: tasks {} before, {} after", before.tasks, after.tasks);
    i32::from(after.tasks != before.tasks)
}

/// The exit status of a worker that has completed its batch.
const STATUS: i32 = 77;

/// Waits for a worker, and ends it if it waits for ever; gives whether it has completed its batch.
fn watch(worker: u32) -> bool {
    for _ in 0..40 {
        if let Ok(Some(report)) = call::wait_not(worker) {
            return report.how == 0 && report.status == STATUS;
        }
        let _ = call::sleep(1);
    }
    let _ = call::kill(worker);
    let _ = call::wait(worker);
    false
}

fn work(mut random: Random, count: u32) {
    let me = call::getpid();
    for _ in 0..count {
        let mut number = Call::ALL[random.below(Call::ALL.len() as u32) as usize] as u32;
        let mut arguments = [(); 5].map(|()| argument(&mut random));
        match Call::from_number(number) {
            // Seldom what ends the worker, or what fills the console.
            Some(Call::Exit | Call::Fork | Call::Thread | Call::Exec) if random.below(16) != 0 => {
                number = random.word();
            }
            Some(Call::Write) => arguments[1] = 0,
            Some(Call::Sleep) => arguments[0] &= 0x8000_0001,
            Some(Call::Grow) => arguments[0] = (arguments[0] as i32 >> 12).cast_unsigned(),
            Some(Call::Receive | Call::ReplyReceive) => {
                let _ = message::notify(me, 1);
                arguments[0] = 0;
            }
            _ => {}
        }
        // SAFETY: the kernel writes to the playground, or where it is told that it may not.
        let result = unsafe { call::raw(number, arguments) };
        if number == Call::Fork as u32 && result == 0 {
            call::exit(0);
        }
    }
}

fn argument(random: &mut Random) -> u32 {
    let playground = PLAYGROUND.0.get() as u32;
    match random.below(8) {
        0 => random.word(),
        1 => random.below(200),
        2 | 3 => playground + random.below(3 * PAGE),
        4 => playground + PAGE * random.below(4) - random.below(5),
        5 => 1 << random.below(32),
        6 => 0,
        _ => {
            let edges = [
                PROGRAM,
                STACKS_START,
                STACK_TOP,
                STACK_TOP - STACK_SIZE,
                KERNEL,
                KERNEL + 0x10_0000,
                0xF000_0000,
                u32::MAX,
            ];
            let edge = edges[random.below(edges.len() as u32) as usize];
            edge.wrapping_add(random.below(9)).wrapping_sub(4)
        }
    }
}

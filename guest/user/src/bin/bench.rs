//! `bench CASE COUNT` does one thing so many times, and says how many timer ticks that took. What it
//! costs follows from two runs with different counts, for whoever counts instructions from outside.
//!
//! | CASE | what is done COUNT times |
//! | --- | --- |
//! | `nothing` | the loop itself |
//! | `null` | a system call that does nothing, by int 0x80 |
//! | `sysenter` | the same by SYSENTER |
//! | `ipc` | a short message and its answer, between two address spaces |
//! | `ipc-thread` | the same between two threads of one address space |
//! | `ipc-page` | a message of 4096 bytes and a short answer |
//! | `switch` | two turns given away: to another process and back |
//! | `switch-thread` | the same between threads |
//! | `fault` | a page of the stack that is touched for the first time (16 at most) |
//! | `fork` | a fork of a program with 64 pages, its end, and the wait for it |
//! | `notify` | a notification to a task, and the next one back |

#![no_std]
#![no_main]

use abi::call::Call;
use abi::layout::{PAGE, STACK_SIZE, STACK_TOP};
use core::arch::asm;
use user::call::{self, Registers};
use user::message::{self, Message};
use user::println;

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    let (case, count) = (arguments.get(1).unwrap_or("null"), arguments.number(2, 1000));
    let partner = match case {
        "ipc" => fork(serve_short),
        "ipc-page" => fork(serve),
        "ipc-thread" => call::thread(serve_thread, 0).unwrap_or(0),
        "switch" => fork(give_way),
        "switch-thread" => call::thread(give_way_thread, 0).unwrap_or(0),
        "notify" => {
            let me = call::getpid();
            fork(move || echo(me))
        }
        _ => 0,
    };
    let _ = call::sleep(1);
    let start = call::uptime();
    match case {
        "nothing" => (0..count).for_each(|round| {
            core::hint::black_box(round);
        }),
        "null" => (0..count).for_each(|_| {
            call::getpid();
        }),
        "sysenter" => by_sysenter(count),
        "ipc" | "ipc-thread" => (0..count).for_each(|_| short(Call::Call, partner)),
        "ipc-page" => {
            let bytes = [1; PAGE as usize];
            for _ in 0..count {
                let _ = message::call(partner, Message::long(1, 0, &bytes));
            }
        }
        "switch" | "switch-thread" => (0..count).for_each(|_| call::yield_now()),
        "fault" => (1..count.min(15)).for_each(|page| {
            let address = STACK_TOP - STACK_SIZE + page * PAGE;
            // SAFETY: below what is used of this stack, and above its end.
            unsafe { (address as *mut u32).write_volatile(1) };
        }),
        "fork" => forks(count),
        "notify" => (0..count).for_each(|_| {
            let _ = message::notify(partner, 1);
            let _ = message::receive(0);
        }),
        _ => {
            println!("bench: there is no case {case}");
            return 2;
        }
    }
    println!("bench: {case} {count} times in {} ticks", call::uptime() - start);
    if partner != 0 {
        let _ = call::kill(partner);
        let _ = call::wait(partner);
    }
    0
}

fn fork(what: impl FnOnce() -> i32) -> u32 {
    match call::fork() {
        Ok(Some(child)) => child,
        Ok(None) => call::exit(what()),
        Err(_) => 0,
    }
}

fn serve() -> i32 {
    let mut buffer = [0; PAGE as usize];
    let _ = message::set_buffer(&mut buffer);
    let mut last = message::receive(0);
    while let Ok((from, message)) = last {
        last = message::reply_receive(from, Message::short(0, message.word, 0));
    }
    1
}

extern "C" fn serve_thread(_: u32) -> ! {
    call::exit(serve_short())
}

/// Answers with nothing but the system call itself.
fn serve_short() -> i32 {
    let Ok((client, _)) = message::receive(0) else { return 1 };
    loop {
        short(Call::ReplyReceive, client);
    }
}

/// A message of three registers to a task, or the answer to it.
fn short(call: Call, to: u32) {
    // SAFETY: registers only; ESI, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            "push esi",
            "int 0x80",
            "pop esi",
            inout("eax") call as u32 => _,
            in("ebx") to,
            inout("ecx") 1 => _,
            inout("edx") 2 => _,
            inout("edi") 0 => _,
        );
    }
}

fn give_way() -> i32 {
    loop {
        call::yield_now();
    }
}

extern "C" fn give_way_thread(_: u32) -> ! {
    call::exit(give_way())
}

fn echo(partner: u32) -> i32 {
    loop {
        let _ = message::receive(0);
        let _ = message::notify(partner, 1);
    }
}

fn by_sysenter(count: u32) {
    if call::fast().is_err() {
        println!("bench: this processor has no SYSENTER");
        return;
    }
    for _ in 0..count {
        let mut registers = Registers { eax: Call::GetPid as u32, ..Registers::default() };
        // SAFETY: the call does nothing.
        unsafe { call::sysenter(&mut registers) };
    }
}

/// A program with 64 pages of memory that it has written to.
fn forks(count: u32) {
    let Ok(start) = call::grow((64 * PAGE) as i32) else { return };
    for page in (start..start + 64 * PAGE).step_by(PAGE as usize) {
        // SAFETY: the memory has just been given to us.
        unsafe { (page as *mut u32).write_volatile(page) };
    }
    for _ in 0..count {
        let child = fork(|| 0);
        let _ = call::wait(child);
    }
}

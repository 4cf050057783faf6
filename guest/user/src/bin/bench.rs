//! `bench CASE COUNT` does one thing so many times, and says when it begins and ends. What it costs
//! follows from two runs with different counts, for whoever counts instructions from outside.
//!
//! | CASE | what is done COUNT times |
//! | --- | --- |
//! | `nothing` | a loop of two instructions |
//! | `null` | a system call that does nothing, by int 0x80 |
//! | `sysenter` | the same by SYSENTER |
//! | `ipc` | a short message and its answer, between two address spaces |
//! | `ipc-thread` | the same between two threads of one address space |
//! | `ipc-page` | a message of 4096 bytes and a short answer |
//! | `switch` | two turns given away: to another process and back |
//! | `switch-thread` | the same between threads |
//! | `fault` | a write to a page that was shared since a fork, and is no more |
//! | `copy` | a write to a page that is shared since a fork |
//! | `fork` | a fork of a program with 64 pages, its end, and the wait for it |
//! | `notify` | a notification to a task, and the next one back |
//! | `interrupt` | the serial port interrupts a program, and its driver acknowledges that |

#![no_std]
#![no_main]

use abi::call::Call;
use abi::layout::PAGE;
use abi::port::COM1;
use abi::task::NORMAL;
use arch::port;
use core::arch::asm;
use user::call::{self, Registers};
use user::message::{self, Message};
use user::println;

user::program!(main);

fn main(arguments: user::Arguments) -> i32 {
    let (case, count) = (arguments.get(1).unwrap_or("null"), arguments.number(2, 1000));
    let pages = match case {
        "fork" => pages(64),
        "fault" | "copy" => pages(count),
        _ => pages(0),
    };
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
        "interrupt" => {
            // The driver's, so that the map of open ports stays as it is: with one driver it does.
            let _ = call::ports(COM1, 8);
            let driver = fork(drive);
            // So that the driver goes on as soon as its interrupt comes.
            let _ = call::set_priority(0, NORMAL - 1);
            driver
        }
        "copy" => fork(serve_short),
        _ => 0,
    };
    if case == "fault" {
        let _ = call::wait(fork(|| 0));
    }
    let _ = call::sleep(1);
    println!("bench: {case} begins");
    match case {
        "nothing" => nothing(count),
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
        "fault" | "copy" => pages.for_each(write),
        "fork" => (0..count).for_each(|_| {
            let _ = call::wait(fork(|| 0));
        }),
        "notify" => (0..count).for_each(|_| {
            let _ = message::notify(partner, 1);
            let _ = message::receive(0);
        }),
        "interrupt" => (0..count).for_each(|_| interrupt()),
        _ => {
            println!("bench: there is no case {case}");
            return 2;
        }
    }
    println!("bench: {case} ends");
    if partner != 0 {
        let _ = call::kill(partner);
        let _ = call::wait(partner);
    }
    0
}

fn nothing(count: u32) {
    // SAFETY: counts a register down.
    unsafe { asm!("2: dec {0}", "jnz 2b", inout(reg) count.max(1) => _, options(nomem, nostack)) };
}

/// So many pages of memory, by address, all written to.
fn pages(count: u32) -> impl Iterator<Item = u32> {
    // What the kernel has had in use, the host has provided: that is not to be counted.
    let size = (2 * count * PAGE).cast_signed();
    let _ = call::grow(size).and_then(|_| call::grow(-size));
    let start = call::grow((count * PAGE).cast_signed()).unwrap_or(0);
    let pages = (0..if start == 0 { 0 } else { count }).map(move |page| start + page * PAGE);
    pages.clone().for_each(write);
    pages
}

fn write(page: u32) {
    // SAFETY: memory that `pages` has asked for, and that nobody else uses.
    unsafe { (page as *mut u32).write_volatile(page) };
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

/// The serial port's interrupt line, and three of its registers.
const IRQ: u32 = 4;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const INTERRUPT_IDENTIFICATION: u16 = COM1 + 2;
const MODEM_CONTROL: u16 = COM1 + 4;

/// Makes the serial port interrupt: it has nothing to send, which is what it is told to tell.
fn interrupt() {
    const NOTHING_TO_SEND: u8 = 1 << 1;
    for value in [0, NOTHING_TO_SEND] {
        // SAFETY: a register of a port that moves no memory, and that is open to us.
        unsafe { port::write(INTERRUPT_ENABLE, value) };
    }
}

/// A driver that does as little as a driver can: it asks for the cause, which ends it.
fn drive() -> i32 {
    const TO_THE_CONTROLLER: u8 = 1 << 3;
    if call::ports(COM1, 8).is_err() || call::attach(IRQ, 1).is_err() {
        return 1;
    }
    // SAFETY: as in `interrupt`.
    unsafe { port::write(MODEM_CONTROL, TO_THE_CONTROLLER) };
    loop {
        let _ = message::receive(0);
        // SAFETY: as in `interrupt`.
        unsafe { port::read(INTERRUPT_IDENTIFICATION) };
        let _ = call::acknowledge(IRQ);
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

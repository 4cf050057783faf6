//! `claims CASE` shows one claim about this kernel, or about the processor below it. The program does
//! what the claim is about, no more, and checks what ring 3 can see of it; the evidence is for
//! whoever watches from outside. The exit status is 0 if nothing here speaks against the claim.
//!
//! | CASE | what happens |
//! | --- | --- |
//! | `tasks` | three children compute, call and yield: H1 to H7, K1, K3, K4, K7, K8 |
//! | `h8` | ring 3 tries to load TR, GDTR, IDTR, CR3, and to write the tables and the TSS |
//! | `h9` | flags, stack and registers before and after interrupts and calls |
//! | `h10` | a long REP MOVS is interrupted again and again |
//! | `k2` | two threads compute and call in one address space |
//! | `k5` | a long `write`, while another task makes calls of its own |
//! | `k6` | tasks wait in the kernel, by sleep, receive and wait, while others work |
//! | `k9` | a long `write`, whose copy faults, while the timer ticks |
//! | `k10` | the kernel calls itself until its stack overflows (needs `allow=recurse`): the end |
//! | `k11` | a user stack grows page by page, up to its limit |
//! | `k12` | children read and write the kernel's memory, and fault |
//! | `k13` | bad pointers to calls, and a call with ESP in the kernel |
//! | `k14` | calls that read and write the program's memory |
//! | `k15` | a child has ended, and tasks are made and go, before it is waited for |

#![no_std]
#![no_main]

use abi::call::{Call, Error};
use abi::layout::{KERNEL, KERNEL_STACK, PAGE, PROGRAM, STACK_SIZE, STACK_TOP};
use abi::task::{FAULTED, PLACE_BITS, Report};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use user::message::{self, Message};
use user::{call, println};

user::program!(main);

/// A name, and the function that shows the case; it gives whether all was as claimed.
type Case = (&'static str, fn() -> bool);

const CASES: [Case; 14] = [
    ("tasks", tasks),
    ("h8", tables_are_the_kernels),
    ("h9", state_comes_back),
    ("h10", string_instruction_is_resumed),
    ("k2", threads),
    ("k5", preempted_in_a_long_write),
    ("k6", suspended_tasks),
    ("k9", nested_interrupts),
    ("k10", kernel_stack_overflows),
    ("k11", user_stack_grows),
    ("k12", kernel_memory_is_closed),
    ("k13", nothing_is_trusted),
    ("k14", memory_is_copied),
    ("k15", zombie_keeps_its_stack),
];

fn main(arguments: user::Arguments) -> i32 {
    let wanted = arguments.get(1).unwrap_or("tasks");
    let Some((name, show)) = CASES.iter().find(|(name, _)| *name == wanted) else {
        println!("claims: there is no case {wanted}");
        return 2;
    };
    let holds = show();
    println!("claims: {name} {}", if holds { "is as claimed" } else { "IS NOT AS CLAIMED" });
    i32::from(!holds)
}

fn child(what: impl FnOnce() -> i32) -> u32 {
    match call::fork() {
        Ok(Some(child)) => child,
        Ok(None) => call::exit(what()),
        Err(_) => 0,
    }
}

fn ended_well(task: u32) -> bool {
    call::wait(task).is_ok_and(|report| report.how == 0 && report.status == 0)
}

/// Whether a child that does this ends by that exception.
fn faults(vector: u32, what: impl FnOnce()) -> bool {
    let task = child(|| {
        what();
        0
    });
    call::wait(task).is_ok_and(|Report { how, vector: got, .. }| how == FAULTED && got == vector)
}

fn spin(rounds: u32) {
    for round in 0..rounds {
        core::hint::black_box(round);
    }
}

fn tasks() -> bool {
    let children = [1, 2, 3].map(|number| {
        child(move || {
            for _ in 0..4 {
                spin(100 * number);
                call::getpid();
                call::yield_now();
            }
            0
        })
    });
    children.map(ended_well) == [true; 3]
}

/// What SGDT or SIDT store: the limit and the base.
fn table_bases() -> [u32; 2] {
    let mut gdt = [0_u8; 6];
    let mut idt = [0_u8; 6];
    // SAFETY: six bytes are stored each; CR4.UMIP is clear, so ring 3 may.
    unsafe {
        asm!("sgdt [{}]", in(reg) gdt.as_mut_ptr());
        asm!("sidt [{}]", in(reg) idt.as_mut_ptr());
    }
    [gdt, idt].map(|table| u32::from_le_bytes([table[2], table[3], table[4], table[5]]))
}

fn tables_are_the_kernels() -> bool {
    let [gdt, idt] = table_bases();
    let pointer = [0_u8; 6];
    let refused: [(u32, fn(u32)); 6] = [
        // SAFETY: each of these faults, and the child ends there.
        (13, |_| unsafe { asm!("ltr ax", in("ax") 0x28_u16) }),
        // SAFETY: as above.
        (13, |pointer| unsafe { asm!("lgdt [{}]", in(reg) pointer) }),
        // SAFETY: as above.
        (13, |pointer| unsafe { asm!("lidt [{}]", in(reg) pointer) }),
        // SAFETY: as above.
        (13, |pointer| unsafe { asm!("mov cr3, {}", in(reg) pointer) }),
        // SAFETY: as above.
        (13, |pointer| unsafe { asm!("mov cr0, {}", in(reg) pointer) }),
        // SAFETY: as above.
        (13, |_| unsafe { asm!("lldt ax", in("ax") 0_u16) }),
    ];
    let address = pointer.as_ptr() as u32;
    let instructions = refused.into_iter().all(|(vector, what)| faults(vector, || what(address)));
    // The TSS lies in the kernel's data, as the GDT does: its descriptor is the sixth.
    let memory = [gdt, gdt + 0x28, gdt & !(PAGE - 1), idt].into_iter().all(|address| {
        faults(14, || {
            // SAFETY: as above.
            unsafe { (address as *mut u32).write_volatile(0) }
        })
    });
    instructions && memory
}

fn state_comes_back() -> bool {
    const FLAGS: u32 = 1 << 21 | 1 << 10 | 1 << 11 | 1 << 7 | 1;
    let mut holds = true;
    for calls in 0..6_u32 {
        let (before, after): (u32, u32);
        let (stack, now): (u32, u32);
        // SAFETY: flags and stack are as before at the end, and DF is clear.
        unsafe {
            asm!(
                "mov {stack}, esp",
                "pushfd",
                "pushfd",
                "or [esp], {before}",
                "mov {before}, [esp]",
                "popfd",
                "2:",
                "int 0x80",
                "mov eax, 3",
                "int 0x80",
                "pushfd",
                "pop {after}",
                "popfd",
                "mov {now}, esp",
                before = inout(reg) FLAGS => before,
                after = out(reg) after,
                stack = out(reg) stack,
                now = out(reg) now,
                inout("eax") if calls % 2 == 0 { Call::Yield } else { Call::GetPid } as u32 => _,
            );
        }
        holds &= before == after && stack == now;
        spin(100);
    }
    holds
}

/// Bytes to copy: some ticks of the deterministic clock.
const LONG: usize = 1500;

fn string_instruction_is_resumed() -> bool {
    let from = core::array::from_fn::<u8, LONG, _>(|index| index as u8);
    let mut to = [0_u8; LONG];
    let left: u32;
    // SAFETY: as many bytes as both have; ESI is put back.
    unsafe {
        asm!(
            "xchg esi, {from}",
            "rep movsb",
            "mov esi, {from}",
            from = inout(reg) from.as_ptr() => _,
            inout("edi") to.as_mut_ptr() => _,
            inout("ecx") LONG => left,
        );
    }
    left == 0 && from == to
}

static SHARED: AtomicU32 = AtomicU32::new(0);

extern "C" fn thread(rounds: u32) -> ! {
    for _ in 0..rounds {
        spin(80);
        SHARED.fetch_add(1, SeqCst);
        call::getpid();
    }
    call::exit(0)
}

fn threads() -> bool {
    let threads = [4, 4].map(|rounds| call::thread(thread, rounds).unwrap_or(0));
    thread_rounds(4);
    threads.map(ended_well) == [true; 2] && SHARED.load(SeqCst) == 12
}

fn thread_rounds(rounds: u32) {
    for _ in 0..rounds {
        spin(80);
        SHARED.fetch_add(1, SeqCst);
        call::getpid();
    }
}

/// Four lines of the same letters.
fn text<const LENGTH: usize>(letter: u8) -> [u8; LENGTH] {
    core::array::from_fn(|index| if index % 64 == 63 { b'\n' } else { letter })
}

fn preempted_in_a_long_write() -> bool {
    // Made before there is a second task, or that would be done by then.
    let text = text::<6144>(b'w');
    let writer = child(|| i32::from(call::write(&text) != Ok(6144)));
    let other = child(|| {
        let me = call::getpid();
        for _ in 0..12 {
            spin(40);
            if call::getpid() != me || call::write(b"o\n") != Ok(2) {
                return 1;
            }
        }
        0
    });
    ended_well(writer) && ended_well(other)
}

fn suspended_tasks() -> bool {
    let sleeper = child(|| i32::from(call::sleep(6) != Ok(())));
    let server = child(|| {
        let mut last = message::receive(0);
        while let Ok((from, message)) = last {
            last = match message.label {
                0 => return i32::from(message::reply(from, message).is_err()),
                _ => message::reply_receive(from, message),
            };
        }
        1
    });
    let waiting = child(|| i32::from(!ended_well(child(|| i32::from(call::sleep(4) != Ok(()))))));
    call::yield_now();
    let mut holds = true;
    for label in [1, 2, 3, 0] {
        spin(150);
        let question = Message::short(label, 5, 6);
        holds &= message::call(server, question) == Ok(question);
    }
    holds & ended_well(sleeper) & ended_well(server) & ended_well(waiting)
}

/// The text begins one byte before a page of the stack that is not there yet: the copy faults, and
/// while the kernel fills the page, with interrupts open, the timer ticks.
fn nested_interrupts() -> bool {
    let mut holds = true;
    for number in 2..5 {
        let page = STACK_TOP - STACK_SIZE + number * 3 * PAGE;
        let text = text::<300>(b'0' + number as u8);
        for (index, byte) in text.iter().enumerate() {
            // SAFETY: far below what is used of this stack, and above its end.
            unsafe { (page as *mut u8).add(index).write_volatile(*byte) };
        }
        holds &= call::write_raw(page - 1, 301) == Ok(301);
    }
    holds
}

fn kernel_stack_overflows() -> bool {
    // A little of it is fine.
    if call::recurse(10) == Err(Error::NotAllowed) {
        println!("claims: the kernel needs allow=recurse on its command line");
        return false;
    }
    let used = |depth| {
        let _ = call::recurse(depth);
        let place = call::getpid() & ((1 << PLACE_BITS) - 1);
        call::inspect(place).ok().flatten().map_or(0, |info| info.kernel_stack_used)
    };
    let _ = child(|| {
        // From two depths follows how much a level takes; then a little more than there is.
        let (shallow, deep) = (used(30), used(60));
        let level = (deep - shallow) / 30;
        let depth = 60 + (KERNEL_STACK - deep + PAGE / 2) / level.max(1);
        println!("claims: task {} makes the kernel call itself {depth} times", call::getpid());
        i32::from(call::recurse(depth).is_ok())
    });
    // With a guard page there is no way back to here.
    let _ = call::wait(0);
    false
}

fn user_stack_grows() -> bool {
    let task = child(|| {
        let mut page = STACK_TOP - 2 * PAGE;
        while page >= STACK_TOP - STACK_SIZE {
            // SAFETY: below what is used of this stack, and above its end.
            unsafe { (page as *mut u32).write_volatile(page) };
            page -= PAGE;
        }
        0
    });
    let beyond = STACK_TOP - STACK_SIZE - 4;
    ended_well(task)
        && faults(14, || {
            // SAFETY: it faults, and the child ends there.
            unsafe { (beyond as *mut u32).write_volatile(1) }
        })
}

fn kernel_memory_is_closed() -> bool {
    let [gdt, idt] = table_bases();
    // The first page of the kernel's text, its tables, its task blocks.
    let places = [KERNEL + 0x10_1000, KERNEL + 0x10_2000, gdt, idt, 0xF000_4000, 0xF000_7FF0];
    places.into_iter().all(|address| {
        let read = faults(14, || {
            // SAFETY: it faults, and the child ends there.
            unsafe { (address as *const u32).read_volatile() };
        });
        let write = faults(14, || {
            // SAFETY: as above.
            unsafe { (address as *mut u32).write_volatile(0) };
        });
        read && write
    })
}

fn nothing_is_trusted() -> bool {
    let bad =
        [0, PROGRAM - 4, STACK_TOP - STACK_SIZE - 8, KERNEL - 4, KERNEL, 0xF000_4000, u32::MAX];
    let pointers = bad.into_iter().all(|address| {
        call::write_raw(address, 16) == Err(Error::BadAddress)
            // SAFETY: it has to be refused.
            && unsafe { call::raw(Call::Counters as u32, [address, 0, 0, 0, 0]) }
                == Error::BadAddress as i32
    });
    let stacks = [0, 1, KERNEL, 0xF000_8000, u32::MAX].into_iter().all(|stack| {
        let task = child(|| {
            let pid: u32;
            // SAFETY: the stack is put back before anything uses it.
            unsafe {
                asm!(
                    "xchg esp, {stack}",
                    "int 0x80",
                    "xchg esp, {stack}",
                    stack = inout(reg) stack => _,
                    inout("eax") Call::GetPid as u32 => pid,
                );
            }
            i32::from(pid != call::getpid())
        });
        ended_well(task)
    });
    pointers && stacks
}

fn memory_is_copied() -> bool {
    let mut bytes = [0; 64];
    let read = call::module(0, 0, &mut bytes) == Ok(64) && bytes.starts_with(b"\x7fELF");
    let text = text::<600>(b'c');
    let told = call::counters().frames > 0 && call::write(&text) == Ok(600);
    let task = child(|| {
        let mut buffer = [0; 64];
        let _ = message::set_buffer(&mut buffer);
        let Ok((from, message)) = message::receive(0) else { return 1 };
        let bytes = &buffer[..message.length as usize];
        i32::from(message::reply(from, Message::long(0, 0, bytes)).is_err())
    });
    let mut answer = [0; 64];
    let sent = message::call_for(task, Message::long(1, 0, &text[..64]), &mut answer);
    read && told && sent.is_ok() && answer[..] == text[..64] && ended_well(task)
}

fn zombie_keeps_its_stack() -> bool {
    let zombie = child(|| 7);
    for _ in 0..3 {
        call::yield_now();
    }
    let others = [1, 2, 3].map(|_| {
        child(|| {
            spin(100);
            call::yield_now();
            0
        })
    });
    let _ = call::sleep(2);
    let well = others.map(ended_well) == [true; 3];
    let reaped = call::wait(zombie).is_ok_and(|report| report.status == 7);
    // Now its stack may be used again.
    well && reaped && ended_well(child(|| 0))
}

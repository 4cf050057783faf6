//! `stress SEED STEPS` does things at random, the same for the same seed: children are made that
//! compute, sleep, fault, talk, fork, start threads and become other programs; they are talked to,
//! killed and waited for. In the end all are gone, and as many tasks and page frames are in use as
//! in the beginning. The exit status is 0 if that is so.

#![no_std]
#![no_main]

extern crate alloc;

use abi::call::Error;
use abi::layout::{KERNEL, PAGE, STACK_SIZE, STACK_TOP};
use abi::task::{Counters, NORMAL};
use alloc::vec::Vec;
use user::message::{self, Message};
use user::random::Random;
use user::{call, files, println};

user::program!(main);

/// At most so many children at a time.
const CROWD: usize = 12;

fn main(arguments: user::Arguments) -> i32 {
    let (seed, steps) = (arguments.number(1, 1), arguments.number(2, 200));
    println!("stress: seed {seed}, {steps} steps");
    let mut stress = Stress {
        random: Random::new(seed),
        children: Vec::with_capacity(CROWD),
        image: files::read("compute"),
        counts: [0; 4],
    };
    touch_stack();
    let _ = call::wait(stress.make(0).unwrap_or(0));
    let before = call::counters();
    for _ in 0..steps {
        stress.step();
    }
    stress.end_all();
    let after = settle(before);
    let [made, killed, answered, refused] = stress.counts;
    println!("stress: {made} made, {killed} killed, {answered} answers, {refused} refused");
    let Counters { tasks, frames, .. } = before;
    println!(
        "stress: tasks {tasks} before, {} after; frames {frames}, {}",
        after.tasks, after.frames
    );
    let clean = after.tasks == before.tasks && after.frames == before.frames;
    println!(
        "stress: {}",
        if clean { "nothing is left behind" } else { "SOMETHING IS LEFT BEHIND" }
    );
    i32::from(!clean)
}

/// Uses as much of the stack as will ever be used, so that its pages are not taken for a leak.
fn touch_stack() {
    let bytes = [0_u8; 2 * PAGE as usize];
    core::hint::black_box(&bytes);
}

/// Orphans are reaped by others, which takes them a moment.
fn settle(before: Counters) -> Counters {
    for _ in 0..50 {
        let now = call::counters();
        if now.tasks == before.tasks {
            return now;
        }
        let _ = call::sleep(1);
    }
    call::counters()
}

struct Stress {
    random: Random,
    children: Vec<u32>,
    /// A program to become, if it was brought along.
    image: Option<Vec<u8>>,
    /// Children made, children killed, answers got, calls refused.
    counts: [u32; 4],
}

impl Stress {
    fn step(&mut self) {
        match self.random.below(10) {
            0..=3 if self.children.len() < CROWD => {
                let kind = self.random.below(11);
                if let Some(child) = self.make(kind) {
                    self.children.push(child);
                }
            }
            4 => {
                if let Some(child) = self.any_child() {
                    self.counts[1] += u32::from(call::kill(child).is_ok());
                }
            }
            5 | 6 => self.talk(),
            7 => {
                let _ = call::sleep(self.random.below(3));
            }
            8 => {
                if let Some(child) = self.any_child() {
                    let level = self.random.below(NORMAL + 1);
                    self.counts[3] += u32::from(call::set_priority(child, level).is_err());
                }
            }
            _ => call::yield_now(),
        }
        while let Ok(Some(report)) = call::wait_not(0) {
            self.children.retain(|&child| child != report.task);
        }
    }

    fn any_child(&mut self) -> Option<u32> {
        let count = self.children.len() as u32;
        (count > 0).then(|| self.children[self.random.below(count) as usize])
    }

    /// Sends something to a child, which may be a server, be deaf, or be gone by then. It must be
    /// one that takes part in this, or nobody would ever answer.
    fn talk(&mut self) {
        let Some(child) = self.any_child() else { return };
        if self.random.below(2) == 0 {
            let _ = message::notify(child, 1 << self.random.below(31));
            return;
        }
        let bytes = [self.random.word() as u8; 64];
        let length = self.random.below(65) as usize;
        let mut answer = [0; 64];
        // A helper asks in our place, since it may wait for ever.
        let asking = Message::long(1, 0, &bytes[..length]);
        let helper = fork(|| match message::call_for(child, asking, &mut answer) {
            Ok((_, count)) => i32::from(answer[..count] != bytes[..length]),
            Err(_) => 2,
        });
        let Some(helper) = helper else { return };
        let _ = call::sleep(1);
        let _ = call::kill(helper);
        match call::wait(helper) {
            Ok(report) if report.how == 0 && report.status == 0 => self.counts[2] += 1,
            _ => self.counts[3] += 1,
        }
    }

    /// Makes a child of some kind.
    fn make(&mut self, kind: u32) -> Option<u32> {
        let seed = self.random.word();
        let image = self.image.as_deref();
        let child = fork(|| live(kind, seed, image));
        match child {
            Some(_) => self.counts[0] += 1,
            None => self.counts[3] += 1,
        }
        child
    }

    fn end_all(&mut self) {
        for child in self.children.drain(..) {
            let _ = call::kill(child);
        }
        while call::wait(0).is_ok() {}
    }
}

fn fork(what: impl FnOnce() -> i32) -> Option<u32> {
    match call::fork() {
        Ok(Some(child)) => Some(child),
        Ok(None) => call::exit(what()),
        Err(_) => None,
    }
}

/// What a child does with its life.
fn live(kind: u32, seed: u32, image: Option<&[u8]>) -> i32 {
    let mut random = Random::new(seed);
    match kind {
        0 => {}
        1 => spin(random.below(300)),
        2 => {
            let _ = call::sleep(random.below(6));
        }
        3 => fault(&mut random),
        4 => return serve(),
        5 => {
            // Grandchildren that nobody waits for.
            for _ in 0..random.below(3) {
                fork(|| {
                    let _ = call::sleep(seed % 3);
                    0
                });
            }
        }
        6 => {
            for _ in 0..random.below(3) {
                let _ = call::thread(thread, random.word());
            }
            if random.below(2) == 0 {
                while call::wait(0).is_ok() {}
            }
        }
        7 => {
            let bytes = random.below(12 * PAGE);
            if let Ok(start) = call::grow(bytes as i32) {
                for page in (start..start + bytes).step_by(PAGE as usize) {
                    // SAFETY: the memory has just been given to us.
                    unsafe { (page as *mut u32).write_volatile(page) };
                }
            }
        }
        8 => {
            let below = random.below(STACK_SIZE - 2 * PAGE);
            // SAFETY: below what is used of this stack, and above its end.
            unsafe { ((STACK_TOP - STACK_SIZE + below) as *mut u8).write_volatile(1) };
        }
        9 => {
            if let Some(image) = image {
                let _: Error = call::exec(image, b"compute\x0020\0", 2);
            }
        }
        _ => {
            let _ = message::receive(0);
        }
    }
    0
}

fn spin(rounds: u32) {
    for round in 0..rounds {
        core::hint::black_box(round);
    }
}

fn fault(random: &mut Random) {
    let addresses = [0, KERNEL, STACK_TOP - STACK_SIZE - 4, u32::MAX - 3, random.word() | KERNEL];
    let address = addresses[random.below(addresses.len() as u32) as usize];
    // SAFETY: it faults, and the task ends there.
    unsafe { (address as *mut u32).write_volatile(1) };
}

/// Sends back what it is sent.
fn serve() -> i32 {
    let mut buffer = [0; 64];
    if message::set_buffer(&mut buffer).is_err() {
        return 1;
    }
    let mut last = message::receive(0);
    while let Ok((from, message)) = last {
        last = match from {
            message::KERNEL => message::receive(0),
            _ => {
                let bytes = &buffer[..message.length as usize];
                message::reply_receive(from, Message::long(0, 0, bytes))
            }
        };
    }
    1
}

extern "C" fn thread(seed: u32) -> ! {
    let mut random = Random::new(seed);
    spin(random.below(200));
    if random.below(3) == 0 {
        fault(&mut random);
    }
    call::exit(0)
}

//! Where all entries meet, and where the frame of a timer interrupt can be spoiled.

use crate::frame::{Frame, Registers};
use crate::plant::Plant;
use crate::ring3::CODE;
use crate::segments::{OTHER_USER_CODE, OTHER_USER_DATA};
use crate::{calls, clock, task};
use abi::vector::{SPURIOUS_FIRST, SPURIOUS_SECOND, TIMER, mnemonic};
use arch::eflags::Eflags;
use arch::{console, cpu, pic};

/// The distance from one vector's stub to the next.
pub const STUB: u32 = 32;

unsafe extern "C" {
    safe fn vector_0();
}

/// The address of a vector's stub.
pub(crate) fn stub(vector: u8) -> u32 {
    vector_0 as *const () as u32 + u32::from(vector) * STUB
}

/// Handles one entry into ring 0.
pub extern "C" fn trap(vector: u32, registers: &mut Registers, frame: &mut Frame) {
    cpu::close_interrupts(); // they are, but behind a trap gate
    let vector = vector as u8;
    let switch = match vector {
        TIMER => {
            pic::end_of_interrupt(vector);
            if clock::tick() == 3 {
                spoil(frame);
            }
            true
        }
        SPURIOUS_FIRST | SPURIOUS_SECOND if pic::is_spurious(vector) => false,
        vector if calls::VECTORS.contains(&vector) => call(registers),
        // With an error code all words of the frame are one further on.
        _ => panic!(
            "{} (vector {vector}), eip {:08x} or {:08x}",
            mnemonic(vector),
            frame.eip,
            frame.cs
        ),
    };
    // One place for all switches: a task that was put onto another's stack finds a return there
    // that fits, and the kernel goes on.
    if switch {
        task::switch();
    }
}

/// A system call; gives whether the turn is over.
fn call(registers: &mut Registers) -> bool {
    let number = core::mem::replace(&mut registers.eax, 0);
    match number {
        calls::WRITE => console::write(&[registers.ebx as u8]),
        calls::YIELD => return true,
        calls::EXIT => {
            task::end();
            return true;
        }
        calls::NOTHING => {}
        _ => panic!("system call {number}"),
    }
    false
}

/// The bugs that change a word of an interrupted task's frame, once. Whoever is interrupted cannot
/// know, and nothing but its frame says what it was.
fn spoil(frame: &mut Frame) {
    if Plant::FrameEip.is_planted() {
        // Code that restarts a system call, and takes an interrupt for one.
        frame.eip = CODE;
    }
    if Plant::FrameCs.is_planted() {
        frame.cs = OTHER_USER_CODE.0.into();
    }
    if Plant::FrameCsHigh.is_planted() {
        // The upper half of the CS slot used as data (Linux b92a165df17e): IRET does not care.
        frame.cs |= 0xBEEF_0000;
    }
    if Plant::FrameEflags.is_planted() {
        // The task may use all ports from now on.
        frame.eflags |= Eflags::IOPL_3.bits();
    }
    if Plant::FrameIf.is_planted() {
        // A return to ring 3 with interrupts closed: nothing can take the processor away again.
        frame.eflags &= !Eflags::IF.bits();
    }
    if Plant::FrameEsp.is_planted() {
        frame.esp -= 16;
    }
    if Plant::FrameSs.is_planted() {
        frame.ss = OTHER_USER_DATA.0.into();
    }
}

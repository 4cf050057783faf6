//! The self-test at the start of every run, on the machine that is going to run the guest.
//!
//! One guest shows what every entry rests on, in two exits. Another counts down, with a breakpoint armed in
//! its page and without, and tells whether breakpoints slow code down.
//! ```text
//!  ring 0   mov cr0, eax    paging on
//!           iretd ─────────────┐
//!  ring 3   int 0x80  ◄────────┘ ──► handler: OUT   1st exit: five words, AC kept
//!           hlt  ◄── IRET ───────    #GP ─► handler  2nd exit: a hardware breakpoint before
//!                                                   the handler's OUT, or else that OUT
//! ```

use super::frame::Entry;
use super::lab::Lab;
use super::layout::{
    KERNEL_CODE, KERNEL_ESP, OUT, SYSTEM_CALL, USER_CODE, USER_CS, USER_DS, handler,
};
use super::problem::Problem;
use super::start::{self, PAGING};
use super::stop::Stop;
use super::wrong::Wrong;
use crate::host::Backend;
use crate::machine::{Exit, Machine};
use crate::probe::DebugRegisters;
use ia32::{Eflags, General, State, Vector};
use std::time::{Duration, Instant};

/// What the self-test saw.
#[derive(Debug)]
pub(super) struct Quick {
    /// Whether 32-bit kernels can be run, or why not.
    pub(super) usable: Result<(), Problem>,
    /// What hardware breakpoints are good for.
    pub(super) breakpoints: DebugRegisters,
    /// Something showed that software executes 32-bit code here, not a processor.
    in_software: bool,
}

impl Quick {
    /// `backend` as it is after what was seen.
    #[must_use]
    pub(super) fn corrected(&self, backend: Backend) -> Backend {
        if self.in_software { backend.seen_to_emulate() } else { backend }
    }
}

/// `mov cr0, eax; iretd`. As bytes, because this test is to cost little, and the assembler's pages
/// would have to be read from the program's file first.
const KERNEL: [u8; 4] = [0x0f, 0x22, 0xc0, 0xcf];
/// `int 0x80; hlt`.
const USER: [u8; 3] = [0xcd, SYSTEM_CALL, 0xf4];

/// `dec ecx; jnz -3; out 0xe5, al`.
const LOOP: [u8; 5] = [0x49, 0x75, 0xfd, OUT[0], OUT[1]];
/// Bytes of the loop, without the OUT that ends it.
const LOOP_LENGTH: u32 = 3;
/// A few times as long as an exit takes, on a model; on a processor a few microseconds.
const ITERATIONS: u32 = 20_000;
/// The first of them has pages to map.
const TURNS: usize = 4;

const SHOWS: &str = "paging on, an IRET to ring 3, INT 0x80 and #GP from there";

/// Tests the machine, whose memory has to be zero and is zero afterwards. It leaves the vCPU as it
/// was, and no debug setting behind.
pub(super) fn quick(machine: &mut Machine) -> Quick {
    let snapshot = machine.vcpu.snapshot();
    let seen = Lab::new(machine).and_then(|mut lab| {
        let seen = try_out(&mut lab);
        let closed = lab.close();
        let seen = seen?;
        Wrong::unless(closed, "KVM to go on", "an error while the test was cleared away")?;
        Ok(seen)
    });
    machine.vcpu.restore(&snapshot);
    match seen {
        Ok(Seen { breakpoints, in_software }) => Quick { usable: Ok(()), breakpoints, in_software },
        Err(wrong) => Quick {
            usable: Err(Problem::unusable(SHOWS, wrong)),
            breakpoints: DebugRegisters::NONE,
            in_software: true,
        },
    }
}

struct Seen {
    breakpoints: DebugRegisters,
    in_software: bool,
}

fn try_out(lab: &mut Lab<'_>) -> Result<Seen, Wrong> {
    lab.write(KERNEL_CODE, &KERNEL);
    lab.write(USER_CODE, &USER);
    let behind_int = USER_CODE + 2;
    let kernel = start::kernel();
    let kernel =
        State { general: General { eax: kernel.cr0 | PAGING, ..kernel.general }, ..kernel };
    let user = start::user();
    let user = State {
        eip: behind_int,
        eflags: user.eflags | Eflags::AC,
        general: General { esp: user.general.esp, ..kernel.general },
        ..user
    };
    lab.write_words(
        KERNEL_ESP,
        &[USER_CODE, USER_CS.into(), user.eflags.0, user.general.esp, USER_DS.into()],
    );
    lab.start(&kernel)?;
    let fault = handler(Vector::GP.0);
    lab.machine.vcpu.set_breakpoints(&[None, None, None, Some(fault)])?;

    let vector = Vector(SYSTEM_CALL);
    let entered = lab.run_to(Stop::Entry(vector))?;
    Entry { before: user, vector, error_code: None }.check(lab, &entered)?;
    Wrong::unless(entered.paging(), "paging on", "paging off")?;

    let breakpoint = match lab.run()? {
        Stop::Exit(Exit::Breakpoint { address }) if address == fault => true,
        Stop::Entry(Vector::GP) => false,
        other => return Err(Wrong::stop(Stop::Entry(Vector::GP).to_string(), &other)),
    };
    let after = lab.state();
    Entry { before: user, vector: Vector::GP, error_code: Some(0) }.check(lab, &after)?;
    let breakpoints = match breakpoint {
        true => DebugRegisters { usable: 4, slow: slow_beside_breakpoint(lab)? },
        false => DebugRegisters::NONE,
    };
    Ok(Seen { breakpoints, in_software: !entered.eflags.contains(Eflags::AC) })
}

/// Whether a loop takes more than twice the time while a breakpoint is armed in its page. That is a
/// ratio of the shortest of some times taken in turn, so a busy machine does not decide it; on
/// processors it is 1, on QEMU's model 3 to 5.
fn slow_beside_breakpoint(lab: &mut Lab<'_>) -> Result<bool, Wrong> {
    lab.write(KERNEL_CODE, &LOOP);
    let kernel = start::kernel();
    let general = General { ecx: ITERATIONS, ..kernel.general };
    let state = State { general, ..kernel };
    let elsewhere = KERNEL_CODE + LOOP.len() as u32;
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..TURNS {
        for (armed, shortest) in [None, Some(elsewhere)].into_iter().zip(&mut shortest) {
            lab.start(&state)?;
            lab.machine.vcpu.set_breakpoints(&[None, None, None, armed])?;
            let begun = Instant::now();
            lab.run_to(Stop::Marker(KERNEL_CODE + LOOP_LENGTH))?;
            *shortest = (*shortest).min(begun.elapsed());
        }
    }
    let [without, beside] = shortest;
    Ok(beside > 2 * without)
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::code_asm::{CodeAssembler, al, cr0, eax, ecx};

    #[test]
    fn the_bytes_are_what_the_assembler_writes() {
        let mut kernel = CodeAssembler::new(32).unwrap();
        kernel.mov(cr0, eax).unwrap();
        kernel.iretd().unwrap();
        assert_eq!(kernel.assemble(0).unwrap(), KERNEL);
        let mut counting = CodeAssembler::new(32).unwrap();
        let mut again = counting.create_label();
        counting.set_label(&mut again).unwrap();
        counting.dec(ecx).unwrap();
        counting.jne(again).unwrap();
        counting.out(u32::from(OUT[1]), al).unwrap();
        assert_eq!(counting.assemble(0).unwrap(), LOOP);
        let mut user = CodeAssembler::new(32).unwrap();
        user.int(i32::from(SYSTEM_CALL)).unwrap();
        user.hlt().unwrap();
        assert_eq!(user.assemble(0).unwrap(), USER);
    }
}

//! The self-test at the start of every run, on the machine that is going to run the guest.
//!
//! One guest shows what every entry rests on, in two exits:
//! ```text
//!  ring 0   mov cr0, eax    paging on
//!           iretd ─────────────┐
//!  ring 3   int 0x80  ◄────────┘ ──► handler: OUT   1st exit: five words, AC kept
//!           hlt  ◄── IRET ───────    #GP ─► handler  2nd exit: a hardware breakpoint before
//!                                                   the handler's OUT, or else that OUT
//! ```

use super::frame::Entry;
use super::lab::Lab;
use super::layout::{KERNEL_CODE, KERNEL_ESP, SYSTEM_CALL, USER_CODE, USER_CS, USER_DS, handler};
use super::problem::Problem;
use super::start::{self, PAGING};
use super::stop::Stop;
use super::wrong::Wrong;
use crate::host::Backend;
use crate::machine::{Exit, Machine};
use ia32::{Eflags, General, State, Vector};

/// What the self-test saw.
#[derive(Debug)]
pub struct Quick {
    /// Whether 32-bit kernels can be run, or why not.
    pub usable: Result<(), Problem>,
    /// How many hardware breakpoints can be used: 4 or none.
    pub breakpoints: usize,
    /// Something showed that software executes 32-bit code here, not a processor.
    pub in_software: bool,
}

impl Quick {
    /// `backend` as it is after what was seen.
    #[must_use]
    pub fn corrected(&self, backend: Backend) -> Backend {
        if self.in_software { backend.seen_to_emulate() } else { backend }
    }
}

/// `mov cr0, eax; iretd`. As bytes, because this test is to cost little, and the assembler's pages
/// would have to be read from the program's file first.
const KERNEL: [u8; 4] = [0x0f, 0x22, 0xc0, 0xcf];
/// `int 0x80; hlt`.
const USER: [u8; 3] = [0xcd, SYSTEM_CALL, 0xf4];

const SHOWS: &str = "paging on, an IRET to ring 3, INT 0x80 and #GP from there";

/// Tests the machine, whose memory has to be zero and is zero afterwards. It leaves the vCPU as it
/// was, and no debug setting behind.
pub fn quick(machine: &mut Machine) -> Quick {
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
        Ok(Seen { breakpoint, in_software }) => {
            Quick { usable: Ok(()), breakpoints: if breakpoint { 4 } else { 0 }, in_software }
        }
        Err(wrong) => Quick {
            usable: Err(Problem::unusable(SHOWS, wrong)),
            breakpoints: 0,
            in_software: true,
        },
    }
}

struct Seen {
    breakpoint: bool,
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
    Ok(Seen { breakpoint, in_software: !entered.eflags.contains(Eflags::AC) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::code_asm::{CodeAssembler, cr0, eax};

    #[test]
    fn the_bytes_are_what_the_assembler_writes() {
        let mut kernel = CodeAssembler::new(32).unwrap();
        kernel.mov(cr0, eax).unwrap();
        kernel.iretd().unwrap();
        assert_eq!(kernel.assemble(0).unwrap(), KERNEL);
        let mut user = CodeAssembler::new(32).unwrap();
        user.int(i32::from(SYSTEM_CALL)).unwrap();
        user.hlt().unwrap();
        assert_eq!(user.assemble(0).unwrap(), USER);
    }
}

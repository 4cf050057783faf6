//! Paging outside long mode (SDM vol. 3A, "32-bit paging").

use super::super::frame::Entry;
use super::super::lab::Lab;
use super::super::layout::{
    ALIAS, DATA, KERNEL_CODE, PAGE_DIRECTORY, PORT, SYSTEM_CALL, USER_CODE,
};
use super::super::start::{self, PAGING};
use super::super::stop::Stop;
use super::super::trial::{Need, Trial};
use super::super::wrong::Wrong;
use ia32::{State, Vector};
use iced_x86::code_asm::{al, cr0, cr3, dword_ptr, eax, ebx};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        name: "paging on",
        shows: "CR0.PG, set by the guest outside long mode; a page seen at another address",
        need: Need::Needed,
        run: turned_on,
    },
    Trial {
        name: "int n under paging",
        shows: "five words on a stack that is closed to ring 3",
        need: Need::Needed,
        run: interrupt,
    },
];

fn turned_on(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    const MAGIC: u32 = 0x600d_da7a;
    lab.write_words(DATA, &[MAGIC]);
    let out = KERNEL_CODE + 0x100;
    lab.code(KERNEL_CODE, |a| {
        a.mov(eax, PAGE_DIRECTORY)?;
        a.mov(cr3, eax)?;
        a.mov(eax, cr0)?;
        a.or(eax, PAGING as i32)?;
        a.mov(cr0, eax)?;
        a.mov(ebx, dword_ptr(ALIAS))?;
        a.jmp(u64::from(out))
    })?;
    lab.code(out, |a| a.out(u32::from(PORT), al))?;
    let before = State { cr3: 0, ..start::kernel() };
    lab.start(&before)?;
    let after = lab.run_to(Stop::Marker(out))?;
    Wrong::unless_equal("the word in the page", MAGIC, after.general.ebx)?;
    Wrong::unless_equal("CR0", before.cr0 | PAGING, after.cr0)?;
    Wrong::unless_equal("CR3", PAGE_DIRECTORY, after.cr3)
}

fn interrupt(lab: &mut Lab<'_>) -> Result<(), Wrong> {
    let next = lab.code(USER_CODE, |a| a.int(i32::from(SYSTEM_CALL)))?;
    let before = start::paged(start::user());
    lab.start(&before)?;
    let vector = Vector(SYSTEM_CALL);
    let after = lab.run_to(Stop::Entry(vector))?;
    Entry { before: State { eip: next, ..before }, vector, error_code: None }.check(lab, &after)
}

//! Instructions written over the guest's own.
//!
//! Two instructions leave the VM and change no register:
//! - `out imm8, al` (two bytes) goes over the no-op `66 90` where a kernel left one. KVM stops with
//!   EIP at it and skips it when the vCPU runs on: a stop costs one exit and nothing else.
//! - `hlt` (one byte) fits over any instruction, an IRET too. KVM stops with EIP behind it; or at it, where it cannot read
//!   the instruction to skip it, since the guest's tables do not map its code any more. To go on,
//!   the byte is put back, the instruction stepped, and `hlt` written again.
//!
//! Patches are kept by physical address: one page of code may be mapped at several linear addresses
//! (a higher-half kernel runs its first instructions at the low one).
//!
//! INT3 was rejected: it would push a frame of its own wherever KVM does not intercept #BP.
//!
//! A guest may write over a patch without knowing: it fills in instructions that this processor has, or
//! gives the page to something else. What it wrote is its own and stays. [`Patches::written_over`] names
//! such patches, and what became of the code that was patched. Or it copies code with a patch in it, as it
//! does with a table of vectors: the HLT is recognised where it is executed by the code around it.

use super::displaced::execute;
use super::step::step_over;
use super::{Means, Passed, Site};
use crate::instruction::opcode;
use crate::machine::{Exit, LinearMemory, Machine, MachineError, Memory};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::Range;

/// `xchg ax, ax`: what a kernel leaves where a probe may go.
pub(crate) const NO_OP: [u8; 2] = [0x66, 0x90];
/// Bytes of the no-op, and of the OUT that goes over it.
pub(crate) const NO_OP_LENGTH: u32 = NO_OP.len() as u32;
/// The port of the patched OUT. What counts is the address of the instruction: the guest may use
/// the port as it likes.
const PORT: u8 = 0xe5;
/// `out PORT, al`.
const OUT: [u8; 2] = [0xe6, PORT];
const HLT: u8 = 0xf4;
const IRET: u8 = 0xcf;

/// Bytes of code that are remembered of where a patch was made: so many before it, and from it on.
const BEFORE: usize = 8;
const FROM: usize = 16;
const REMEMBERED: usize = BEFORE + FROM;
/// So many bytes in a row have to be the same for code to be taken for the same: what is filled in at a
/// handler's start is an instruction or two.
const SAME: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Patch {
    /// The address that the site is known by.
    linear: u32,
    /// The first byte of the original instruction.
    original: u8,
    /// `out` over a no-op rather than `hlt` over an instruction.
    no_op: bool,
    /// The code around it, as it was without patches; as much of it as the page holds.
    code: Code,
}

/// Bytes around a patch: [`BEFORE`] of them, and [`FROM`] from its first on.
type Code = [u8; REMEMBERED];

impl Patch {
    /// The byte that is the patch's own.
    fn byte(&self) -> u8 {
        if self.no_op { OUT[0] } else { HLT }
    }

    /// What became of the code, which is `now` there.
    fn fate(&self, now: &Code) -> Fate {
        if self.code[BEFORE..].starts_with(&NO_CODE) {
            Fate::Arrived
        } else if is_same(&self.code[REMEMBERED - SAME..], &now[REMEMBERED - SAME..]) {
            Fate::Altered
        } else {
            Fate::Gone
        }
    }

    /// `now`, around a byte that is this patch's, is a copy of the code that it was made in: the same leads to
    /// it, at a handler's end, or the same follows it, at its start.
    fn is_copied(&self, now: &Code) -> bool {
        let same = |part: Range<usize>| is_same(&self.code[part.clone()], &now[part]);
        match opcode(&self.code[BEFORE..]) {
            Some(IRET) => same(0..BEFORE),
            _ => same(BEFORE + 1..REMEMBERED),
        }
    }
}

/// The same code, and not the same filling.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one == other && one.iter().any(|byte| *byte != one[0])
}

/// Two zero bytes decode, but no compiler emits `add [eax], al`.
const NO_CODE: [u8; 2] = [0, 0];

/// What became of the code where the guest has written over a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is the same but for its first instruction or two.
    Altered,
    /// There was none yet.
    Arrived,
    /// Something else is there now; whether it is code, nobody knows.
    Gone,
}

/// A patch that the guest has written over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrittenOver {
    /// The address that its site is known by.
    pub(super) linear: u32,
    /// What became of the code there.
    pub(super) fate: Fate,
}

/// The patches, by the number of their page and where they lie in it.
#[derive(Debug, Default)]
pub(crate) struct PatchedPages(FxHashMap<usize, Vec<(usize, Patch)>>);

impl PatchedPages {
    /// The page with this number holds patches.
    pub(crate) fn holds(&self, page: usize) -> bool {
        self.0.contains_key(&page)
    }

    /// A page of memory with the guest's own bytes; zero where there is no RAM.
    pub(crate) fn read(&self, memory: &Memory, page: usize) -> [u8; 4096] {
        let mut bytes = [0; 4096];
        let _ = memory.read(page as u64 * 4096, &mut bytes);
        self.uncover(page, &mut bytes);
        bytes
    }

    /// Makes the guest's own bytes of those of a page.
    fn uncover(&self, page: usize, bytes: &mut [u8; 4096]) {
        for (at, patch) in self.0.get(&page).into_iter().flatten() {
            if bytes[*at] != patch.byte() {
                continue;
            }
            bytes[*at] = patch.original;
            if let (true, Some(second)) = (patch.no_op, bytes.get_mut(at + 1)) {
                *second = NO_OP[1];
            }
        }
    }
}

/// The patches in guest memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Patches {
    /// By physical address of the first byte.
    patches: FxHashMap<u64, Patch>,
    /// Linear addresses at which a stop needs no translation.
    linear: FxHashMap<u32, u64>,
    /// Physical addresses of HLTs that are the guest's own.
    own: FxHashSet<u64>,
}

impl Patches {
    /// The bytes at `address` as the guest's own program has them; how many are mapped.
    pub(super) fn read(&self, linear: &LinearMemory<'_>, address: u32, bytes: &mut [u8]) -> usize {
        let short = bytes.len() as u32 + (address & 0xfff) <= 0x1000;
        let whole = short
            && linear
                .paging
                .translate(linear.memory, address)
                .is_some_and(|physical| linear.memory.read(physical, bytes).is_some());
        let count = if whole { bytes.len() } else { linear.read_some(address, bytes) };
        if self.patches.is_empty()
            || !bytes[..count].iter().any(|byte| matches!(*byte, HLT | PORT) || *byte == OUT[0])
        {
            return count;
        }
        let mut physical = None;
        for (index, byte) in bytes[..count].iter_mut().enumerate() {
            if !matches!(*byte, HLT | PORT) && *byte != OUT[0] {
                physical = None;
                continue;
            }
            let at = address.wrapping_add(index as u32);
            let here = match physical {
                Some(before) if at & 0xfff != 0 => Some(before + 1),
                _ => linear.paging.translate(linear.memory, at),
            };
            physical = here;
            let Some(here) = here else { continue };
            if let Some(patch) = self.patches.get(&here) {
                *byte = patch.original;
            } else if *byte == PORT
                && self.patches.get(&here.wrapping_sub(1)).is_some_and(|patch| patch.no_op)
            {
                *byte = NO_OP[1];
            }
        }
        count
    }

    /// The patches, by page.
    pub(super) fn pages(&self) -> PatchedPages {
        let mut pages = PatchedPages::default();
        for (physical, patch) in &self.patches {
            let page = pages.0.entry((physical >> 12) as usize).or_default();
            page.push(((physical & 0xfff) as usize, *patch));
        }
        pages
    }

    /// Puts the patches of a page over `bytes`, which it is to have, where they lie in memory now.
    pub(super) fn cover_page(&self, machine: &Machine, page: usize, bytes: &mut [u8; 4096]) {
        let start = (page as u64) << 12;
        for (physical, patch) in self.patches.iter().filter(|(at, _)| **at >> 12 == page as u64) {
            let at = (physical - start) as usize;
            let mut now = [0];
            let lies =
                machine.memory().read(*physical, &mut now).is_some() && now[0] == patch.byte();
            if lies && bytes[at] == patch.original {
                bytes[at] = patch.byte();
                if let (true, Some(second)) = (patch.no_op, bytes.get_mut(at + 1)) {
                    *second = OUT[1];
                }
            }
        }
    }

    /// One of the patches lies over this byte.
    pub(super) fn holds(&self, physical: u64) -> bool {
        self.patches.contains_key(&physical)
            || self.patches.get(&physical.wrapping_sub(1)).is_some_and(|patch| patch.no_op)
    }

    /// The code at `physical` as the guest's own program has it, within the page.
    fn code_at(&self, machine: &Machine, physical: u64) -> Code {
        let mut code = [0; REMEMBERED];
        let offset = (physical & 0xfff) as usize;
        let (before, from) = (BEFORE.min(offset), FROM.min(0x1000 - offset));
        let there = &mut code[BEFORE - before..BEFORE + from];
        let start = physical - before as u64;
        let _ = machine.memory().read(start, there);
        for (address, byte) in (start..).zip(there) {
            if let Some(patch) = self.patches.get(&address)
                && *byte == patch.byte()
            {
                *byte = patch.original;
            }
        }
        code
    }

    /// The guest stopped at a HLT at `address` that is no patch known here. If it copied that with the code
    /// that was patched, it has a patch there now.
    pub(super) fn adopt(&mut self, machine: &Machine, address: u32) -> bool {
        let Some(physical) = self.physical(machine, address) else { return false };
        if self.own.contains(&physical) {
            return false;
        }
        let code = self.code_at(machine, physical);
        let copied = self.patches.values().find(|patch| !patch.no_op && patch.is_copied(&code));
        let Some(original) = copied.map(|patch| patch.original) else {
            self.own.insert(physical);
            return false;
        };
        let mut code = code;
        code[BEFORE] = original;
        self.patches.insert(physical, Patch { linear: address, original, no_op: false, code });
        self.linear.insert(address, physical);
        true
    }

    /// The patches whose byte in memory is not theirs any more. They are forgotten.
    pub(super) fn written_over(&mut self, machine: &Machine) -> Vec<WrittenOver> {
        let is_gone = |physical: &u64, patch: &Patch| {
            let mut byte = [0];
            machine.memory().read(*physical, &mut byte).is_none() || byte[0] != patch.byte()
        };
        let gone: Vec<(u64, Patch)> = self
            .patches
            .iter()
            .filter(|(physical, patch)| is_gone(physical, patch))
            .map(|(physical, patch)| (*physical, *patch))
            .collect();
        for (physical, _) in &gone {
            self.patches.remove(physical);
        }
        self.linear.retain(|_, physical| self.patches.contains_key(physical));
        gone.into_iter()
            .map(|(physical, patch)| WrittenOver {
                linear: patch.linear,
                fate: patch.fate(&self.code_at(machine, physical)),
            })
            .collect()
    }

    /// The site whose patch lies at `address`.
    #[inline(always)]
    fn known(&self, machine: &Machine, address: u32) -> Option<u32> {
        if self.linear.contains_key(&address) {
            return Some(address);
        }
        // The same code under another address.
        let physical = self.physical(machine, address)?;
        self.patches.get(&physical).map(|patch| patch.linear)
    }

    /// KVM has left EIP at the HLT, which lies at `address` in a page that is not mapped any more. It goes behind it, as it
    /// does elsewhere.
    #[cold]
    fn not_skipped(&self, machine: &mut Machine, address: u32) -> Option<u32> {
        let unmapped = self.physical(machine, address).is_none();
        // A HLT of the guest's own, right before the page.
        let mut before = [0];
        let own = machine.linear().read(address.wrapping_sub(1), &mut before).is_some()
            && before == [HLT];
        let site = self.known(machine, address).filter(|_| unmapped && !own)?;
        let eip = machine.vcpu.state().eip;
        machine.vcpu.set_eip(eip.wrapping_add(1));
        Some(site)
    }

    fn physical(&self, machine: &Machine, address: u32) -> Option<u64> {
        machine.linear().paging.translate(machine.memory(), address)
    }

    fn write(machine: &mut Machine, physical: u64, bytes: &[u8]) {
        // The address was readable when the patch was made, and RAM does not go away.
        let _ = machine.write_memory(physical, bytes);
    }
}

impl Means for Patches {
    fn place(&mut self, machine: &mut Machine, site: &Site) -> Result<bool, MachineError> {
        let Some(physical) = self.physical(machine, site.address) else { return Ok(false) };
        if self.patches.contains_key(&physical) {
            self.linear.insert(site.address, physical);
            return Ok(true);
        }
        let mut bytes = [0; 2];
        if machine.memory().read(physical, &mut bytes).is_none() {
            return Ok(false);
        }
        let no_op = bytes == NO_OP && site.address & 0xfff != 0xfff;
        let code = self.code_at(machine, physical);
        let patch = Patch { linear: site.address, original: bytes[0], no_op, code };
        if no_op {
            Self::write(machine, physical, &OUT);
        } else {
            Self::write(machine, physical, &[HLT]);
        }
        self.patches.insert(physical, patch);
        self.linear.insert(site.address, physical);
        Ok(true)
    }

    fn remove(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError> {
        let Some(physical) = self.linear.remove(&address) else { return Ok(()) };
        if let Some(patch) = self.patches.remove(&physical) {
            let mut byte = [0];
            if machine.memory().read(physical, &mut byte).is_none() || byte[0] != patch.byte() {
                // The guest has written something of its own there.
                return Ok(());
            }
            if patch.no_op {
                Self::write(machine, physical, &NO_OP);
            } else {
                Self::write(machine, physical, &[patch.original]);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn recognise(&self, machine: &mut Machine, exit: &Exit) -> Option<u32> {
        let address = match exit {
            Exit::PortWrite { port, size: 1 } if *port == u16::from(PORT) => {
                machine.vcpu.instruction_address()
            }
            Exit::Halt => machine.vcpu.instruction_address().wrapping_sub(1),
            _ => return None,
        };
        self.known(machine, address).or_else(|| match exit {
            Exit::Halt => self.not_skipped(machine, address.wrapping_add(1)),
            _ => None,
        })
    }

    fn pass(&mut self, machine: &mut Machine, site: &Site) -> Result<Passed, MachineError> {
        let physical = self.linear.get(&site.address).copied();
        let Some((physical, patch)) =
            physical.and_then(|at| self.patches.get(&at).map(|patch| (at, *patch)))
        else {
            return Ok(Passed::WithNextRun);
        };
        if patch.no_op {
            return Ok(Passed::WithNextRun);
        }
        let mut state = machine.vcpu.state();
        let mut code = [0; 15];
        let mut linear = machine.linear_mut_by((&state).into());
        let count = self.read(&linear.read_only(), site.address, &mut code);
        // HLT left EIP behind itself.
        state.eip = state.eip.wrapping_sub(1);
        if execute(&mut state, &mut linear, &code[..count]) {
            machine.vcpu.set_registers(&state);
            return Ok(Passed::Done);
        }
        machine.vcpu.set_eip(state.eip);
        Self::write(machine, physical, &[patch.original]);
        if step_over(machine, &code[..count])? {
            Self::write(machine, physical, &[HLT]);
            return Ok(Passed::Stepped);
        }
        // The instruction faulted, or it is one that leaves the VM. A frame pushed under stepping
        // would show TF: let it happen again without, and put the patch back later.
        self.patches.remove(&physical);
        self.linear.remove(&site.address);
        Ok(Passed::Exposed)
    }
}

//! Where a kernel that a boot loader loads is going to begin, and where it will load its IDT.
//!
//! Behind a BIOS nobody knows beforehand which kernel comes. Three things tell it in time. A sector that is read from a disk
//! may hold the header of an ELF file or of Multiboot, which say where the kernel begins, or code that sets CR0.PE and jumps
//! to 32-bit code (`boot/sector.rs`). There the guest is stopped once, and what the code from there on can reach is looked
//! through for LIDT. And whoever accesses a device in protected mode is somewhere on the way: its code and that of its callers
//! is looked through in the same way.
//!
//! Only debug registers are used: a boot loader may still move, unpack or add up what lies in memory, so nothing there is changed.
//! A stop happens once at each place, since boot loaders have LIDTs of their own.

use super::Probes;
use super::code::Code;
use crate::boot::sector::Sighting;
use crate::machine::{LinearMemory, Machine, MachineError};
use ia32::State;
use rustc_hash::FxHashSet;

/// Instructions that are looked at from one place on, at most.
const LIMIT: usize = 20_000;
/// Words of the stack that are looked at for addresses to return to.
const WORDS: u32 = 64;
/// The BIOS: its code loads an IDT for itself.
const BIOS: std::ops::Range<u32> = 0xC_0000..0x10_0000;

/// What the guest is stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// 32-bit code begins there, perhaps a kernel.
    Beginning,
    /// A LIDT stands there.
    Lidt,
}

/// The places ahead of the guest.
#[derive(Clone, Debug, Default)]
pub(super) struct Ways {
    /// The oldest first.
    places: Vec<(u32, Ahead)>,
    /// LIDTs that the guest has come by.
    spent: FxHashSet<u32>,
    /// What has been looked through.
    code: Code,
    /// The places from which that was done last.
    roots: FxHashSet<u32>,
}

impl Probes {
    /// A sector that is being read says where a kernel may begin.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be set.
    pub(crate) fn expect(
        &mut self,
        machine: &mut Machine,
        sightings: &[Sighting],
    ) -> Result<(), MachineError> {
        // What is read may be code, at a place that held other code before.
        self.ways.code = Code::default();
        self.ways.roots.clear();
        for sighting in sightings {
            self.add_way(sighting.entry, Ahead::Beginning);
        }
        self.set_ways(machine)
    }

    /// The guest has stopped in `state`, and no IDT has been found: looks through the code that it is in.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be set.
    pub(crate) fn look_ahead(
        &mut self,
        machine: &mut Machine,
        state: &State,
    ) -> Result<(), MachineError> {
        let here = state.instruction_address();
        if !is_32_bit(state) || BIOS.contains(&here) || !self.may_look_ahead() {
            return Ok(());
        }
        let mut roots = callers(&machine.linear(), state);
        roots.push(here);
        roots.retain(|root| !BIOS.contains(root) && self.ways.roots.insert(*root));
        self.look_from(machine, &roots)
    }

    fn look_from(&mut self, machine: &mut Machine, roots: &[u32]) -> Result<(), MachineError> {
        if roots.is_empty() {
            return Ok(());
        }
        let linear = machine.linear();
        let patches = &self.patches;
        let read = |address: u32, bytes: &mut [u8]| patches.read(&linear, address, bytes);
        let found = self.ways.code.explore_part(roots, LIMIT, read);
        for address in found.lidts {
            self.add_way(address, Ahead::Lidt);
        }
        self.set_ways(machine)
    }

    /// What the guest has been stopped for at the breakpoint at `address`, if it is one of these.
    pub(crate) fn ahead_at(&self, address: u32) -> Option<Ahead> {
        self.ways.places.iter().find(|place| place.0 == address).map(|place| place.1)
    }

    /// The guest stands in `state` where 32-bit code begins, or at a LIDT: it is stopped there no more.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be set.
    pub(crate) fn came_to(
        &mut self,
        machine: &mut Machine,
        state: &State,
    ) -> Result<(), MachineError> {
        let here = state.instruction_address();
        let what = self.ahead_at(here);
        if what == Some(Ahead::Lidt) {
            self.ways.spent.insert(here);
        }
        self.ways.places.retain(|place| place.0 != here);
        if what == Some(Ahead::Beginning) {
            self.ways.code = Code::default();
            self.ways.roots.clear();
            self.look_from(machine, &[here])?;
        }
        self.set_ways(machine)
    }

    /// The IDT has been found: nobody looks ahead any more.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be set.
    pub(crate) fn has_arrived(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        self.ways = Ways::default();
        self.set_ways(machine)
    }

    fn may_look_ahead(&self) -> bool {
        !matches!(self.choice, super::Choice::None | super::Choice::Patch)
            && self.breakpoints.usable() > 0
    }

    fn add_way(&mut self, address: u32, what: Ahead) {
        let spent = self.ways.spent.contains(&address) || BIOS.contains(&address);
        if spent || !self.may_look_ahead() || self.ahead_at(address).is_some() {
            return;
        }
        self.ways.places.push((address, what));
        // Half of the registers at most are for beginnings, and the others for LIDTs; the newest come first.
        let usable = self.breakpoints.usable();
        let of = |ways: &Ways, what| ways.places.iter().filter(|place| place.1 == what).count();
        let beginnings = of(&self.ways, Ahead::Beginning);
        let most = match what {
            Ahead::Beginning => usable.div_ceil(2),
            Ahead::Lidt => usable - beginnings.min(usable.div_ceil(2)),
        };
        if of(&self.ways, what) > most
            && let Some(oldest) = self.ways.places.iter().position(|place| place.1 == what)
        {
            self.ways.places.remove(oldest);
        }
        if self.ways.places.len() > usable {
            self.ways.places.remove(0);
        }
    }

    fn set_ways(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        self.breakpoints.lend(machine, self.ways.places.iter().map(|place| place.0))
    }
}

/// The vCPU executes 32-bit code in ring 0 of protected mode.
pub(crate) fn is_32_bit(state: &State) -> bool {
    state.protected() && state.cpl() == 0 && state.cs().big()
}

/// The addresses on the stack that calls have pushed, as far as the code in front of them tells.
fn callers(linear: &LinearMemory<'_>, state: &State) -> Vec<u32> {
    let words = (0..WORDS).map(|at| linear.read_u32(state.stack_address().wrapping_add(4 * at)));
    let is_behind_call = |address: &u32| {
        let mut code = [0; 7];
        let read = linear.read_some(address.wrapping_sub(7), &mut code);
        // CALL with its target inside has five bytes; by a register two, by memory three, six or seven.
        let by_pointer =
            |length: usize| code[7 - length] == 0xFF && code[8 - length] & 0x38 == 0x10;
        read == code.len() && (code[2] == 0xE8 || [2, 3, 6, 7].into_iter().any(by_pointer))
    };
    words.map_while(|word| word).filter(|word| *word >= 0x1000 && is_behind_call(word)).collect()
}

//! Where the guest is stopped, and by which means.
//!
//! A *site* is an address at which esp0 wants the guest to stop: the target of an IDT gate or of SYSENTER, an
//! IRET that a handler can reach, a LIDT, a far jump that may switch tasks. Sites come from the IDT that the guest loaded and from the code
//! behind it, never from symbols. How the guest is made to stop there is a means: a hardware
//! breakpoint or a patched instruction.
//!
//! ```text
//!  IDTR ─► gates ─► targets ─┬─► sites ─► means: breakpoint │ patch ─► stop ─► pass
//!                            └─► disassembly ─► IRETs ─┘
//! ```
//! The guest may change its IDT at any time. The table is compared at each stop, and sites follow.
//! A gate that is written and used between two stops is missed, which shows when a return comes that
//! no entry precedes. The guest may also write over a patch, as a kernel does that fills in what this
//! processor has: patches are compared with memory where an entry was missed, and now and then.

mod ahead;
mod breakpoint;
mod call_gates;
mod code;
mod displaced;
mod functions;
mod idt;
mod patch;
mod rewritten;
mod site;
mod step;
mod task_gates;
mod unwatched;

pub(crate) use ahead::{Ahead, is_32_bit};
pub use breakpoint::DebugRegisters;
pub use code::{Code, FarReturn, IretSite};
use functions::Functions;
pub use idt::Idt;
pub(crate) use patch::NO_OP_LENGTH;
pub use rewritten::Missed;
pub use site::Site;
pub use unwatched::{CallGate, Entered, Seen, TaskGate, Unwatched};

use crate::instruction::is_sysenter;
use crate::machine::{Exit, LinearMemory, Machine, MachineError, Paging};
use breakpoint::Breakpoints;
use ia32::State;
pub(crate) use patch::PatchedPages;
use patch::Patches;
use rustc_hash::{FxHashMap, FxHashSet};

/// How sites are to be probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A patch where the kernel left a no-op for it, then breakpoints while there are registers and
    /// they do not slow the code beside them down, then patches that displace an instruction.
    #[default]
    Auto,
    /// Breakpoints while there are registers, then patches.
    Breakpoint,
    /// Patches only.
    Patch,
    /// No probes: the guest runs as it would without esp0.
    None,
}

/// What became of the instruction under a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// It will be executed when the vCPU runs next, without further care.
    WithNextRun,
    /// It has been stepped over; the vCPU stands behind it.
    Stepped,
    /// It has been done in the guest's stead; the vCPU stands behind it.
    Done,
    /// Stepping over it raised an event or touched a device: the vCPU stands before it again, with
    /// the probe taken out, to be put back at the next stop.
    Exposed,
}

/// A way to stop the guest at an address.
trait Means {
    /// Stops the guest at `site` from now on; false if this means cannot.
    fn place(&mut self, machine: &mut Machine, site: &Site) -> Result<bool, MachineError>;

    /// Stops the guest there no more.
    fn remove(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError>;

    /// The address at which the guest stopped, if `exit` is a stop of this means.
    fn recognise(&self, machine: &mut Machine, exit: &Exit) -> Option<u32>;

    /// Lets the instruction at `site` happen.
    fn pass(&mut self, machine: &mut Machine, site: &Site) -> Result<Passed, MachineError>;
}

/// How often each means is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Hardware breakpoints.
    pub breakpoints: usize,
    /// Patches over a no-op that the kernel left.
    pub patched_no_ops: usize,
    /// Patches that displace an instruction.
    pub patched_instructions: usize,
    /// Sites in pages that are not mapped now, or hold something else by now.
    pub unreachable: usize,
    /// Entries that are known to have been missed: an interrupt that was injected, or a return to an
    /// outer ring after another, without an entry between.
    pub missed_entries: u64,
}

/// The patches are compared with memory at each so many looks at the IDT.
const LOOKS: u32 = 1024;

/// All probes of a guest.
#[derive(Clone, Debug)]
pub struct Probes {
    choice: Choice,
    breakpoints: Breakpoints,
    patches: Patches,
    sites: FxHashMap<u32, Site>,
    idt: Idt,
    unwatched: Unwatched,
    /// Far RETs that were found, each a site as soon as there is a call gate.
    far_returns: Vec<FarReturn>,
    /// Where an RDTSC stands that was met first.
    time_stamp: Option<u32>,
    code: Code,
    address_spaces: FxHashSet<Paging>,
    last_paging: Option<Paging>,
    exposed: Vec<u32>,
    /// Looks at the IDT since the patches were compared with memory.
    looks: u32,
    missed_entries: u64,
    functions: Functions,
    ways: ahead::Ways,
    /// Physical addresses of the words that say where the task gates' tasks go on, and what stood there; none if they are to be
    /// looked for.
    task_words: Option<Vec<(u64, u32)>>,
}

/// Only the supervisor executes what lies at `address`.
fn is_supervisors(machine: &Machine, address: u32) -> bool {
    let LinearMemory { memory, paging } = machine.linear();
    paging.enabled && paging.access(memory, address).is_some_and(|access| !access.user)
}

impl Probes {
    /// No probe yet.
    pub fn new(choice: Choice, registers: DebugRegisters) -> Self {
        let spare = match choice {
            Choice::Auto if registers.slow => 0,
            Choice::Auto | Choice::Breakpoint => registers.usable,
            Choice::Patch | Choice::None => 0,
        };
        Probes {
            choice,
            breakpoints: Breakpoints::new(registers.usable, spare),
            patches: Patches::default(),
            sites: FxHashMap::default(),
            idt: Idt::default(),
            unwatched: Unwatched::default(),
            far_returns: Vec::new(),
            time_stamp: None,
            code: Code::default(),
            address_spaces: FxHashSet::default(),
            last_paging: None,
            exposed: Vec::new(),
            looks: 0,
            missed_entries: 0,
            functions: Functions::default(),
            ways: ahead::Ways::default(),
            task_words: None,
        }
    }

    /// How sites are probed.
    pub fn choice(&self) -> Choice {
        self.choice
    }

    /// The IDT as last seen.
    pub fn idt(&self) -> &Idt {
        &self.idt
    }

    /// The ways into the kernel that have no probe, as far as they were seen.
    pub fn unwatched(&self) -> &Unwatched {
        &self.unwatched
    }

    /// Where an RDTSC stands in the code that was explored, if there is one.
    pub(crate) fn time_stamp(&self) -> Option<u32> {
        self.time_stamp
    }

    /// Looks for ways into the kernel that have no probe, in the tables of `state`.
    pub(crate) fn look_for_unwatched(&mut self, machine: &Machine, state: &State) {
        self.task_words = None;
        self.unwatched.look(machine, &self.idt, state);
    }

    /// A patch lies over the byte at this physical address.
    pub fn holds_patch(&self, physical: u64) -> bool {
        self.patches.holds(physical)
    }

    /// The patches, by page.
    pub(crate) fn patched_pages(&self) -> PatchedPages {
        self.patches.pages()
    }

    /// `bytes` are what the guest's program has in the page with this number: with the patches that lie there now.
    pub(crate) fn cover_page(&self, machine: &Machine, page: usize, bytes: &mut [u8; 4096]) {
        self.patches.cover_page(machine, page, bytes);
    }

    /// The bytes that the guest's program has at `address`, without patches; how many there are.
    #[inline]
    pub fn read_code(&self, linear: &LinearMemory<'_>, address: u32, bytes: &mut [u8]) -> usize {
        self.patches.read(linear, address, bytes)
    }

    /// Probes the LIDT instructions that the code from `entry` on can reach, so that the guest's
    /// first IDT is seen before it is used.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub fn await_idt(&mut self, machine: &mut Machine, entry: u32) -> Result<(), MachineError> {
        if self.choice == Choice::None {
            return Ok(());
        }
        self.explore(machine, &[entry]);
        self.place_all(machine)
    }

    /// Looks at the guest's IDT and address space, and lets the probes follow.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    #[inline]
    pub fn follow(&mut self, machine: &mut Machine, state: &State) -> Result<(), MachineError> {
        let changed = self.idt.refresh(machine, state);
        if self.choice == Choice::None {
            return Ok(());
        }
        if changed {
            self.follow_gates(machine)?;
        }
        if changed || self.unwatched.is_another_ldt(state) {
            self.look_for_unwatched(machine, state);
        }
        self.looks += 1;
        if self.looks == LOOKS {
            self.renew(machine)?;
        }
        let paging = Paging::from(state);
        if self.last_paging != Some(paging) {
            self.last_paging = Some(paging);
            if self.address_spaces.insert(paging) {
                self.look_for_unwatched(machine, state);
                self.place_all(machine)?;
            }
        }
        self.follow_task_gates(machine, state)?;
        if !self.exposed.is_empty() {
            self.cover(machine, state)?;
        }
        Ok(())
    }

    /// New gates get sites; sites whose gates are gone lose their probes.
    #[cold]
    fn follow_gates(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        let gone: Vec<u32> = self
            .sites
            .values_mut()
            .filter_map(|site| {
                site.vectors.clear();
                site.is_empty().then_some(site.address)
            })
            .collect();
        let mut targets = Vec::new();
        for (vector, target) in self.idt.targets(machine) {
            self.site(target).vectors.push(vector);
            targets.push(target);
        }
        for address in gone {
            if self.sites[&address].is_empty() {
                self.uncover(machine, address)?;
                self.sites.remove(&address);
            }
        }
        targets.dedup();
        self.explore(machine, &targets);
        self.place_all(machine)
    }

    /// SYSENTER leads to `target` from now on, or nowhere.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub fn follow_sysenter(
        &mut self,
        machine: &mut Machine,
        target: Option<u32>,
    ) -> Result<(), MachineError> {
        let before = self.sysenter_target();
        if self.choice == Choice::None || before == target {
            return Ok(());
        }
        if let Some(address) = before {
            self.site(address).sysenter = false;
            if self.sites[&address].is_empty() {
                self.uncover(machine, address)?;
                self.sites.remove(&address);
            }
        }
        if let Some(address) = target {
            self.site(address).sysenter = true;
            self.explore(machine, &[address]);
        }
        self.place_all(machine)
    }

    /// Linear address that SYSENTER leads to, if it leads anywhere.
    pub(crate) fn sysenter_target(&self) -> Option<u32> {
        self.sites.values().find(|site| site.sysenter).map(|site| site.address)
    }

    /// `code` begins with SYSENTER, and the guest stops where it leads to.
    pub(crate) fn stops_sysenter(&self, code: &[u8]) -> bool {
        is_sysenter(code) && self.sites.values().any(|site| site.sysenter && site.placed)
    }

    fn site(&mut self, address: u32) -> &mut Site {
        self.sites.entry(address).or_insert_with(|| Site::new(address))
    }

    /// Finds the IRETs and LIDTs that code from `roots` on can reach.
    fn explore(&mut self, machine: &Machine, roots: &[u32]) {
        let linear = machine.linear();
        let found =
            self.code.explore(roots, |address, bytes| self.patches.read(&linear, address, bytes));
        self.take_found(found);
    }

    /// What was found is to be probed.
    fn take_found(&mut self, found: code::Found) {
        self.time_stamp = self.time_stamp.or(found.time_stamp);
        for iret in found.irets {
            self.site(iret.probe_address).iret = Some(iret);
        }
        if self.sites.values().any(|site| !site.call_gates.is_empty()) {
            for far_return in found.far_returns {
                self.site(far_return.probe_address).far_return = Some(far_return);
            }
        } else {
            self.far_returns.extend(found.far_returns);
        }
        for address in found.lidts {
            self.site(address).loads_idt = true;
        }
        for jump in found.far_jumps {
            self.site(jump.probe_address).far_jump = Some(jump.address);
        }
    }

    /// Gives every site a probe that has none, the most used first.
    fn place_all(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        let mut waiting: Vec<u32> = self
            .sites
            .values()
            .filter(|site| {
                !site.placed && !site.overwritten && !self.exposed.contains(&site.address)
            })
            .map(|site| site.address)
            .collect();
        waiting.sort_by_key(|address| (std::cmp::Reverse(self.sites[address].weight()), *address));
        for address in waiting {
            self.place(machine, address)?;
        }
        Ok(())
    }

    fn place(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError> {
        let Some(site) = self.sites.get_mut(&address) else { return Ok(()) };
        let mut bytes = [0; 2];
        self.patches.read(&machine.linear(), address, &mut bytes);
        site.no_op = bytes == patch::NO_OP;
        // A LIDT is executed once or twice: no use for a register that could serve an entry.
        let worth_a_register = !site.vectors.is_empty() || site.iret.is_some() || site.sysenter;
        let breakpoint_first = match self.choice {
            // A probe at a far jump has to be taken out each time. And a breakpoint is missed where an
            // interrupt returns to it with RF set, as on QEMU's model: a return or an entry is not
            // interrupted so, a far jump may be.
            Choice::Auto => worth_a_register && !site.no_op,
            Choice::Breakpoint => worth_a_register || site.far_jump.is_some(),
            Choice::Patch | Choice::None => false,
        };
        // A patch stops ring 0 alone, so it serves what the kernel does; and it is cheaper than a register.
        let for_kernel = site.is_only_asked() && is_supervisors(machine, address);
        let patchable = !site.is_only_asked() || for_kernel;
        site.placed = (((breakpoint_first || site.asked) && !for_kernel)
            && self.breakpoints.place(machine, site)?)
            || (patchable && self.patches.place(machine, site)?);
        Ok(())
    }

    fn uncover(&mut self, machine: &mut Machine, address: u32) -> Result<(), MachineError> {
        self.breakpoints.remove(machine, address)?;
        self.patches.remove(machine, address)
    }

    /// Puts back the probes that had to be taken out to let an instruction happen, once it has.
    fn cover(&mut self, machine: &mut Machine, state: &State) -> Result<(), MachineError> {
        let here = state.instruction_address();
        for address in std::mem::take(&mut self.exposed) {
            if address == here {
                self.exposed.push(address);
            } else {
                self.place(machine, address)?;
            }
        }
        Ok(())
    }

    /// The address of the site at which `exit` stopped the guest, if it is a stop of a probe.
    #[inline]
    pub fn hit(&self, machine: &mut Machine, exit: &Exit) -> Option<u32> {
        match exit {
            Exit::Breakpoint { .. } => self.breakpoints.recognise(machine, exit),
            Exit::Halt | Exit::PortWrite { .. } => self.patches.recognise(machine, exit),
            _ => None,
        }
    }

    /// The site at `address`, if it is one (still).
    #[inline]
    pub fn site_at(&self, address: u32) -> Option<&Site> {
        self.sites.get(&address)
    }

    /// Whether a probe is set at `address`.
    pub fn is_site(&self, address: u32) -> bool {
        self.sites.get(&address).is_some_and(|site| site.placed)
    }

    /// Whether the probe at `address` has been taken out to let its instruction happen.
    pub fn is_exposed(&self, address: u32) -> bool {
        self.exposed.contains(&address)
    }

    /// Whether a probe at `address` is still to stop what has arrived there through a gate.
    pub fn awaits_entry(&self, address: u32) -> bool {
        let leads_here = |site: &Site| {
            !site.vectors.is_empty() || !site.call_gates.is_empty() || !site.task_gates.is_empty()
        };
        self.sites.get(&address).is_some_and(|site| site.placed && leads_here(site))
            && !self.is_exposed(address)
    }

    /// Whether any probe has been taken out, to be put back.
    pub fn has_exposed(&self) -> bool {
        !self.exposed.is_empty()
    }

    /// Takes the probe at `address` out until its instruction, whose offset in CS is `eip`, has
    /// happened.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be changed.
    pub fn expose(
        &mut self,
        machine: &mut Machine,
        address: u32,
        eip: u32,
    ) -> Result<(), MachineError> {
        machine.vcpu.set_eip(eip);
        let Some(site) = self.sites.get_mut(&address).filter(|site| site.placed) else {
            return Ok(());
        };
        site.placed = false;
        self.exposed.push(address);
        self.uncover(machine, address)
    }

    /// Whether the probe at `site` stands over a no-op, which KVM skips when the vCPU runs next.
    #[inline]
    pub fn passes_itself(&self, site: &Site) -> bool {
        site.no_op && site.placed && !self.breakpoints.holds(site.address)
    }

    /// Lets the instruction under the probe at `address`, whose offset in CS is `eip`, happen.
    ///
    /// # Errors
    /// [`MachineError`] if the vCPU cannot be run.
    #[inline]
    pub fn pass(
        &mut self,
        machine: &mut Machine,
        address: u32,
        eip: u32,
    ) -> Result<Passed, MachineError> {
        let Some(site) = self.sites.get(&address).filter(|site| site.placed) else {
            // The guest took the gate away while it was being entered.
            machine.vcpu.set_eip(eip);
            return Ok(Passed::WithNextRun);
        };
        let passed = if site.far_jump.is_some() && !site.no_op {
            // A task switch must not be stepped: it loads an EFLAGS without TF, and does not stop.
            self.uncover(machine, address)?;
            machine.vcpu.set_eip(eip);
            Passed::Exposed
        } else if self.breakpoints.holds(address) {
            self.breakpoints.pass(machine, site)?
        } else {
            self.patches.pass(machine, site)?
        };
        if passed == Passed::Exposed {
            self.exposed.push(address);
            if let Some(site) = self.sites.get_mut(&address) {
                site.placed = false;
            }
        }
        Ok(passed)
    }

    /// Stops the guest at `address` from now on, or no more. That takes a debug register, for ring 3 may
    /// execute no HLT; one may have to be taken from a site that a patch serves as well.
    ///
    /// # Errors
    /// [`MachineError`] if there is no debug register, or a probe cannot be set.
    pub fn ask(
        &mut self,
        machine: &mut Machine,
        address: u32,
        asked: bool,
    ) -> Result<(), MachineError> {
        let site = self.site(address);
        site.asked = asked;
        let (empty, placed) = (site.is_empty(), site.placed);
        if empty {
            self.uncover(machine, address)?;
            self.sites.remove(&address);
            self.exposed.retain(|exposed| *exposed != address);
        } else if !placed && !self.exposed.contains(&address) {
            let taken = !is_supervisors(machine, address);
            if taken && let Some(other) = self.breakpoints.least_needed(&self.sites) {
                self.uncover(machine, other)?;
                self.place(machine, address)?;
                self.place(machine, other)?;
            } else {
                self.place(machine, address)?;
            }
            if !self.is_site(address) {
                return Err(MachineError::Missing("debug register that stops at an address"));
            }
        }
        Ok(())
    }

    /// Somebody asked to stop somewhere.
    pub(crate) fn has_asked(&self) -> bool {
        self.sites.values().any(|site| site.asked)
    }

    /// Where somebody asked to stop.
    pub(crate) fn asked(&self) -> Vec<u32> {
        self.sites.values().filter(|site| site.asked).map(|site| site.address).collect()
    }

    /// Somebody asked to stop at a place that ring 3 may execute.
    pub(crate) fn asks_ring_3(&self, machine: &Machine) -> bool {
        self.sites.values().any(|site| site.asked && !is_supervisors(machine, site.address))
    }

    /// A probe that somebody asked for has been taken out, to be put back as soon as its instruction has happened.
    #[inline]
    pub fn awaits_covering(&self) -> bool {
        !self.exposed.is_empty()
            && self.exposed.iter().any(|at| self.sites.get(at).is_some_and(Site::is_only_asked))
    }

    /// Puts back the probes that somebody asked for and that had to be taken out, but for one that the vCPU
    /// stands at.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub fn cover_asked(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        let here = machine.vcpu.instruction_address();
        for address in std::mem::take(&mut self.exposed) {
            if address != here && self.sites.get(&address).is_some_and(Site::is_only_asked) {
                self.place(machine, address)?;
            } else {
                self.exposed.push(address);
            }
        }
        Ok(())
    }

    /// Stops the guest at `address` once, where a task goes on whose switch is exposed: it may switch
    /// again before anything else stops it.
    ///
    /// # Errors
    /// [`MachineError`] if a probe cannot be set.
    pub fn await_resumption(
        &mut self,
        machine: &mut Machine,
        address: u32,
    ) -> Result<(), MachineError> {
        let site = self.site(address);
        if site.is_empty() {
            site.resumes = true;
            self.place(machine, address)?;
        }
        Ok(())
    }

    /// Takes the probe of [`Probes::await_resumption`] out again, the vCPU standing at it with `eip`.
    ///
    /// # Errors
    /// [`MachineError`] if it cannot be taken out.
    pub fn resumed(
        &mut self,
        machine: &mut Machine,
        address: u32,
        eip: u32,
    ) -> Result<(), MachineError> {
        self.uncover(machine, address)?;
        self.sites.remove(&address);
        machine.vcpu.set_eip(eip);
        Ok(())
    }

    /// Takes all probes out of a guest that runs no more: its code is its own again, and can be stepped.
    /// The sites stay listed.
    ///
    /// # Errors
    /// [`MachineError`] if a breakpoint cannot be changed.
    pub fn give_up(&mut self, machine: &mut Machine) -> Result<(), MachineError> {
        for address in self.sites.keys() {
            self.patches.remove(machine, *address)?;
        }
        machine.vcpu.set_breakpoints(&[None; 4])
    }

    /// How many debug registers there are for others, once the probes are given up.
    pub fn debug_registers(&self) -> usize {
        self.breakpoints.usable()
    }

    /// How many sites each means serves.
    pub fn census(&self) -> Census {
        let mut census = Census { missed_entries: self.missed_entries, ..Census::default() };
        for site in self.sites.values() {
            if self.breakpoints.holds(site.address) {
                census.breakpoints += 1;
            } else if !site.placed {
                census.unreachable += 1;
            } else if site.no_op {
                census.patched_no_ops += 1;
            } else {
                census.patched_instructions += 1;
            }
        }
        census
    }
}

//! The model's list of its own decisions.
//!
//! Each way an event can turn is a [`Branch`], noted as it is taken: cheaply, as a bit in a
//! [`Path`], and in order, with a value, as a [`BranchTaken`]. A path says which parts of the model a case
//! has exercised, so that coverage is measured in the architecture's terms; the steps explain one
//! event to a reader.

use core::fmt;

/// Operation sections of the instructions in SDM volume 2.
const INT: &str = "SDM vol. 2A, INT n/INTO/INT3/INT1, Operation";
const IRET: &str = "SDM vol. 2A, IRET/IRETD, Operation";
const JMP: &str = "SDM vol. 2A, JMP, Operation";
/// Chapters of volume 3A.
const PRIVILEGE: &str = "SDM vol. 3A, Exception- or interrupt-handler procedures";
const ERROR_CODE: &str = "SDM vol. 3A, Error code";
const DOUBLE: &str = "SDM vol. 3A, Interrupt 8";
const SWITCH: &str = "SDM vol. 3A, Task switching";
const CHECKS: &str = "SDM vol. 3A, Exception conditions checked during a task switch";
const PAGES: &str = "SDM vol. 3A, Page-fault exceptions";
const MARKS: &str = "SDM vol. 3A, Accessed and dirty flags";
const RF: &str = "SDM vol. 3B, RF flag in pushed EFLAGS";
const VIRTUAL: &str = "SDM vol. 3B, Interrupt and exception handling in virtual-8086 mode";

macro_rules! branches {
    ($($(#[$attribute:meta])* $name:ident: $sentence:literal, $source:expr;)*) => {
        /// A decision of the model.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Branch { $(#[doc = $sentence] $name,)* }

        impl Branch {
            /// Every branch.
            pub const ALL: &'static [Branch] = &[$(Branch::$name,)*];

            /// Its name in the source.
            pub const fn name(self) -> &'static str {
                match self { $(Branch::$name => stringify!($name),)* }
            }

            /// What happens, as a sentence; `%` stands for the step's value.
            pub const fn sentence(self) -> &'static str {
                match self { $(Branch::$name => $sentence,)* }
            }

            /// The section of the manual that says so.
            pub const fn source(self) -> &'static str {
                match self { $(Branch::$name => $source,)* }
            }
        }
    };
}

branches! {
    // The event.
    SoftwareInterrupt: "INT n, INT3 or INTO with vector %: behind it lies the EIP to save, EXT is 0, RF is saved as 0", INT;
    PrivilegedInterrupt: "INT1 (ICEBP): like INT n, but no gate's DPL is checked and EXT is 1", INT;
    ExternalInterrupt: "an external interrupt with vector %: EXT is 1", ERROR_CODE;
    NonMaskable: "an NMI: EXT is 1, and further NMIs are blocked until an IRET", "SDM vol. 3A, Handling multiple NMIs";
    FaultException: "a fault with vector %: EIP stays at the instruction, RF is saved as 1", RF;
    InstructionBreakpoint: "a #DB by an instruction breakpoint: RF is saved as it is (AMD: 0)", RF;
    TrapException: "a trap with vector %: EIP lies behind the instruction, RF is saved as it is", RF;
    AbortException: "an abort with vector %: what is saved for CS, EIP and RF is not defined", RF;
    RepeatInterrupted: "a repeated string instruction is interrupted between iterations: RF is saved as 1", RF;
    VirtualIntRefused: "INT n in virtual-8086 mode with IOPL below 3: #GP(0)", VIRTUAL;
    // The gate.
    GateOutsideIdt: "the gate of vector % lies outside the IDT's limit: #GP(vector)", INT;
    GateInvalidType: "the IDT entry has type %, no gate that an IDT may hold: #GP(vector)", INT;
    GatePrivilege: "the gate's DPL % is below CPL: #GP(vector)", INT;
    GateNotPresent: "the gate is not present: #NP(vector)", INT;
    GateTask: "a task gate for TSS %", INT;
    GateInterrupt32: "a 32-bit interrupt gate to segment %: words of four bytes, IF is cleared", INT;
    GateInterrupt16: "a 16-bit interrupt gate to segment %: words of two bytes, IF is cleared", INT;
    GateTrap32: "a 32-bit trap gate to segment %: words of four bytes, IF stays", INT;
    GateTrap16: "a 16-bit trap gate to segment %: words of two bytes, IF stays", INT;
    // The handler's code segment.
    HandlerNull: "the gate's selector is null: #GP(EXT)", INT;
    HandlerOutsideTable: "the gate's selector % lies outside its table: #GP(selector)", INT;
    HandlerNotCode: "the gate's selector % names no code segment: #GP(selector)", INT;
    HandlerOuter: "the handler's DPL % is above CPL: #GP(selector)", INT;
    HandlerNotPresent: "the handler's segment % is not present: #NP(selector)", INT;
    HandlerVirtualRing: "from virtual-8086 mode to a handler with DPL %, which is neither 0 nor CPL: #GP(selector)", INT;
    HandlerVirtualSame: "from virtual-8086 mode to conforming code or to ring 3: #GP(selector)", INT;
    HandlerInner: "the handler runs in ring %, further in: the stack changes", PRIVILEGE;
    HandlerFromVirtual: "the handler runs in ring 0, entered from virtual-8086 mode: the stack changes", INT;
    HandlerSame: "the handler runs in the same ring: the stack stays", PRIVILEGE;
    HandlerConforming: "the handler's segment is conforming: it runs in the interrupted ring, the stack stays", PRIVILEGE;
    HandlerBeyondLimit: "the handler's EIP % lies outside its segment: #GP(EXT)", INT;
    // The inner ring's stack.
    InnerStackBeyondTss: "the inner ring's stack pointer lies outside the limit % of the TSS: #TS(TR)", INT;
    InnerStackTss32: "the 32-bit TSS gives the inner ring ESP %", INT;
    InnerStackTss16: "the 16-bit TSS gives the inner ring SP %", INT;
    InnerStackNull: "the inner ring's SS is null: #TS(EXT)", INT;
    InnerStackOutsideTable: "the inner ring's SS % lies outside its table: #TS(SS)", INT;
    InnerStackRpl: "the inner ring's SS % has another RPL: #TS(SS)", INT;
    InnerStackDpl: "the inner ring's SS % has another DPL: #TS(SS)", INT;
    InnerStackNotWritable: "the inner ring's SS % is no writable data segment: #TS(SS)", INT;
    InnerStackNotPresent: "the inner ring's SS % is not present: #SS(SS)", INT;
    InnerStackNoRoom: "the inner stack has no room for % bytes: #SS(SS)", INT;
    SameStackNoRoom: "the stack has no room for % bytes: #SS(EXT)", INT;
    Stack32: "SS.B is 1: ESP is the stack pointer", "SDM vol. 3A, Segment descriptors, D/B flag";
    Stack16: "SS.B is 0: SP is the stack pointer", "SDM vol. 3A, Segment descriptors, D/B flag";
    PushUnaligned: "a push at % is unaligned, in ring 3 with alignment checks on: #AC(EXT)", INT;
    PushedErrorCode: "the error code % is pushed last", ERROR_CODE;
    // Memory.
    AccessCrossesPage: "an access at % crosses a page boundary", PAGES;
    PageDirectoryNotPresent: "the directory entry for % is not present: #PF", PAGES;
    PageTableNotPresent: "the page-table entry for % is not present: #PF", PAGES;
    PageReservedBit: "a reserved bit is set in the directory entry for %: #PF", PAGES;
    PageNotUser: "the page at % is not ring 3's: #PF", PAGES;
    PageReadOnly: "the page at % is read-only: #PF", PAGES;
    PageSmap: "the page at % is ring 3's, and CR4.SMAP forbids it: #PF", PAGES;
    PageLarge: "% lies in a 4 MiB page", "SDM vol. 3A, 32-bit paging";
    DirectoryMarked: "the directory entry for % becomes accessed (or dirty)", MARKS;
    TableMarked: "the page-table entry for % becomes accessed or dirty", MARKS;
    DescriptorAccessed: "the descriptor of % becomes accessed", "SDM vol. 3A, Code- and data-segment descriptor types";
    // IRET.
    ReturnVirtualRefused: "IRET in virtual-8086 mode with IOPL below 3: #GP(0)", IRET;
    ReturnWithinVirtual: "IRET in virtual-8086 mode, within it", IRET;
    ReturnWithinVirtualBeyondLimit: "the popped EIP % lies outside the code segment: #GP(0)", IRET;
    ReturnTask: "NT is set: IRET returns to the task that the TSS links to", IRET;
    ReturnNoRoom: "the top % bytes are not all within the stack segment: #SS(0)", IRET;
    ReturnUnaligned: "a pop at % is unaligned, in ring 3 with alignment checks on: #AC(0)", IRET;
    ReturnPopped32: "IRETD pops EIP %, CS and EFLAGS", IRET;
    ReturnPopped16: "IRET pops IP %, CS and FLAGS", IRET;
    ReturnToVirtual: "VM is set in the popped EFLAGS, in ring 0: back to virtual-8086 mode", IRET;
    ReturnToVirtualBeyondLimit: "the popped EIP % lies above FFFFH: #GP(0)", IRET;
    ReturnCsNull: "the popped CS is null: #GP(0)", IRET;
    ReturnCsOutsideTable: "the popped CS % lies outside its table: #GP(selector)", IRET;
    ReturnCsNotCode: "the popped CS % names no code segment: #GP(selector)", IRET;
    ReturnCsInner: "the popped CS % has an RPL below CPL: #GP(selector)", IRET;
    ReturnCsConformingDpl: "the popped CS % is conforming with a DPL above its RPL: #GP(selector)", IRET;
    ReturnCsDpl: "the popped CS % has a DPL other than its RPL: #GP(selector)", IRET;
    ReturnCsNotPresent: "the popped CS % is not present: #NP(selector)", IRET;
    ReturnBeyondLimit: "the popped EIP % lies outside its segment: #GP(0)", IRET;
    ReturnSame: "IRET to the same ring", IRET;
    ReturnOuter: "IRET to ring %: SS and ESP are popped too", IRET;
    ReturnSsNull: "the popped SS is null: #GP(0)", IRET;
    ReturnSsOutsideTable: "the popped SS % lies outside its table: #GP(selector)", IRET;
    ReturnSsRpl: "the popped SS % has an RPL other than that of CS: #GP(selector)", IRET;
    ReturnSsNotWritable: "the popped SS % is no writable data segment: #GP(selector)", IRET;
    ReturnSsDpl: "the popped SS % has a DPL other than the RPL of CS: #GP(selector)", IRET;
    ReturnSsNotPresent: "the popped SS % is not present: #SS(selector)", IRET;
    ReturnSegmentCleared: "a data segment register (%) is too privileged for the outer ring: it becomes null", IRET;
    ReturnIfKept: "CPL is above IOPL: IF stays as it is", IRET;
    ReturnIoplKept: "CPL is not 0: IOPL, VIF and VIP stay as they are", IRET;
    // Far transfers to a task.
    FarNull: "the far pointer's selector is null: #GP(0)", JMP;
    FarOutsideTable: "the far pointer's selector % lies outside its table: #GP(selector)", JMP;
    FarTss: "the far pointer names the TSS %", JMP;
    FarTssPrivilege: "the DPL of TSS % is below CPL or RPL: #GP(selector)", JMP;
    FarTssLocal: "the TSS % is in the LDT: #GP(selector)", JMP;
    FarGate: "the far pointer names a task gate for TSS %", JMP;
    FarGatePrivilege: "the DPL of the task gate % is below CPL or RPL: #GP(selector)", JMP;
    FarGateNotPresent: "the task gate % is not present: #NP(selector)", JMP;
    // The task switch.
    TaskLinkRead: "the current TSS links to TSS %", SWITCH;
    TaskSelectorLocal: "the TSS selector % names the LDT: #GP(selector), by IRET #TS(selector)", CHECKS;
    TaskOutsideTable: "the TSS selector % lies outside the GDT: #GP(selector), by IRET #TS(selector)", CHECKS;
    TaskNotTss: "the selector % names no TSS: #GP(selector), by IRET #TS(selector)", CHECKS;
    TaskBusy: "the TSS % is busy: #GP(selector)", CHECKS;
    TaskNotBusy: "the TSS % is not busy, and IRET wants a busy one: #TS(selector)", CHECKS;
    TaskNotPresent: "the TSS % is not present: #NP(selector)", CHECKS;
    TaskTooSmall: "the TSS % is too small: #TS(selector)", CHECKS;
    TaskOldTooSmall: "the current TSS % is too small to save the task: #TS(selector)", SWITCH;
    TaskOldBusyCleared: "the old TSS % is no longer busy", SWITCH;
    TaskNewBusySet: "the new TSS % becomes busy", SWITCH;
    TaskSaved32: "the old task is saved in its 32-bit TSS at %", SWITCH;
    TaskSaved16: "the old task is saved in its 16-bit TSS at %", SWITCH;
    TaskLoaded32: "the new task is loaded from its 32-bit TSS at %", SWITCH;
    TaskLoaded16: "the new task is loaded from its 16-bit TSS at %", SWITCH;
    TaskNested: "the new TSS links back to %, and NT is set", SWITCH;
    TaskDirectoryLoaded: "CR3 becomes %", SWITCH;
    TaskVirtual: "the new task runs in virtual-8086 mode", SWITCH;
    TaskLdtLocal: "the new task's LDT selector % names the LDT: #TS(selector)", CHECKS;
    TaskLdtOutsideTable: "the new task's LDT selector % lies outside the GDT: #TS(selector)", CHECKS;
    TaskLdtType: "the new task's LDT selector % names no LDT: #TS(selector)", CHECKS;
    TaskLdtNotPresent: "the new task's LDT % is not present: #TS(selector)", CHECKS;
    TaskLdtNull: "the new task has no LDT", SWITCH;
    TaskLdtLoaded: "LDTR becomes %", SWITCH;
    TaskCsNull: "the new task's CS is null: #TS(selector)", CHECKS;
    TaskCsOutsideTable: "the new task's CS % lies outside its table: #TS(selector)", CHECKS;
    TaskCsNotCode: "the new task's CS % names no code segment: #TS(selector)", CHECKS;
    TaskCsDpl: "the new task's CS % is non-conforming with a DPL other than its RPL: #TS(selector)", CHECKS;
    TaskCsConformingDpl: "the new task's CS % is conforming with a DPL above its RPL: #TS(selector)", CHECKS;
    TaskCsNotPresent: "the new task's CS % is not present: #NP(selector)", CHECKS;
    TaskSsNull: "the new task's SS is null: #TS(selector)", CHECKS;
    TaskSsOutsideTable: "the new task's SS % lies outside its table: #TS(selector)", CHECKS;
    TaskSsNotWritable: "the new task's SS % is no writable data segment: #TS(selector)", CHECKS;
    TaskSsNotPresent: "the new task's SS % is not present: #SS(selector)", CHECKS;
    TaskSsDpl: "the new task's SS % has a DPL other than CPL: #TS(selector)", CHECKS;
    TaskSsRpl: "the new task's SS % has a DPL other than its RPL: #TS(selector)", CHECKS;
    TaskDataNull: "a data segment register of the new task is null", SWITCH;
    TaskDataOutsideTable: "the new task's data selector % lies outside its table: #TS(selector)", CHECKS;
    TaskDataNotReadable: "the new task's data selector % names no readable segment: #TS(selector)", CHECKS;
    TaskDataPrivilege: "the new task's data segment % has a DPL below CPL or RPL: #TS(selector)", CHECKS;
    TaskDataNotPresent: "the new task's data segment % is not present: #NP(selector)", CHECKS;
    TaskErrorCode32: "the error code % is pushed on the new task's stack, in four bytes", INT;
    TaskErrorCode16: "the error code % is pushed on the new task's stack, in two bytes", INT;
    TaskErrorCodeNoRoom: "the new task's stack has no room for the error code: #SS(EXT)", INT;
    TaskBeyondLimit: "the new task's EIP % lies outside its code segment: #GP(EXT)", INT;
    TaskDebugTrap: "T is set in the new TSS: a #DB follows before the first instruction", "SDM vol. 3B, Task-switch exception condition";
    // Ends.
    Entered: "the handler begins at EIP %", PRIVILEGE;
    Returned: "execution goes on at EIP %", IRET;
    Switched: "the new task goes on at EIP %", SWITCH;
    // One fault after another.
    FaultRaised: "vector % is raised instead", ERROR_CODE;
    ChainSerial: "the fault is handled in place of the event that raised it", DOUBLE;
    ChainDoubleFault: "two faults that cannot be handled one after the other: #DF(0)", DOUBLE;
    ChainShutdown: "a fault while #DF is delivered: shutdown", DOUBLE;
    ChainEndless: "faults go on without end", DOUBLE;
}

const _: () = assert!(Branch::ALL.len() <= Path::BITS);

/// The set of branches that an event took.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Path([u64; 3]);

impl Path {
    const BITS: usize = 3 * 64;

    /// No branch.
    pub const EMPTY: Path = Path([0; 3]);

    pub(crate) fn insert(&mut self, branch: Branch) {
        let index = branch as usize;
        self.0[index / 64] |= 1 << (index % 64);
    }

    /// Whether `branch` was taken.
    pub const fn contains(&self, branch: Branch) -> bool {
        let index = branch as usize;
        self.0[index / 64] & (1 << (index % 64)) != 0
    }

    /// The branches of both.
    #[must_use]
    pub const fn union(self, other: Path) -> Path {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        Path([a | x, b | y, c | z])
    }

    /// How many branches.
    pub const fn count(&self) -> u32 {
        self.0[0].count_ones() + self.0[1].count_ones() + self.0[2].count_ones()
    }

    /// The branches, in the order of [`Branch::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Branch> {
        Branch::ALL.iter().copied().filter(move |branch| self.contains(*branch))
    }

    /// The set as 192 bits, lowest first, for storing.
    pub const fn to_bits(self) -> [u64; 3] {
        self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A branch that was taken, and what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchTaken {
    /// The decision.
    pub branch: Branch,
    /// What `%` in its sentence stands for: a selector, an address, a vector.
    pub value: u32,
}

/// The sentence, with the value in hexadecimal.
impl fmt::Display for BranchTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.branch.sentence().split_once('%') {
            Some((before, after)) => write!(f, "{before}{:#x}{after}", self.value),
            None => f.write_str(self.branch.sentence()),
        }
    }
}

/// How many steps are kept in order. The [`Path`] has all of them.
pub const STEPS: usize = 128;

/// The branches that an event took: as a set, and the first [`STEPS`] of them in order.
#[derive(Clone)]
pub struct Trace {
    path: Path,
    steps: [BranchTaken; STEPS],
    length: u8,
}

impl Default for Trace {
    fn default() -> Self {
        Trace {
            path: Path::EMPTY,
            steps: [BranchTaken { branch: Branch::Entered, value: 0 }; STEPS],
            length: 0,
        }
    }
}

impl Trace {
    pub(crate) fn clear(&mut self) {
        self.path = Path::EMPTY;
        self.length = 0;
    }

    /// How far it has come, for [`Trace::back_to`].
    pub(crate) fn mark(&self) -> (Path, u8) {
        (self.path, self.length)
    }

    /// What was noted since `mark` is forgotten.
    pub(crate) fn back_to(&mut self, (path, length): (Path, u8)) {
        self.path = path;
        self.length = length;
    }

    pub(crate) fn note(&mut self, branch: Branch, value: u32) {
        self.path.insert(branch);
        if let Some(free) = self.steps.get_mut(usize::from(self.length)) {
            *free = BranchTaken { branch, value };
            self.length += 1;
        }
    }

    /// The set of branches.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// The steps, first to last.
    pub fn steps(&self) -> &[BranchTaken] {
        &self.steps[..usize::from(self.length)]
    }

    /// There were more steps than are kept.
    pub fn is_truncated(&self) -> bool {
        usize::from(self.length) == STEPS
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps()).finish()
    }
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.steps() == other.steps()
    }
}

impl Eq for Trace {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString;

    #[test]
    fn every_branch_has_a_sentence_and_a_name_of_its_own() {
        let sentences: BTreeSet<_> = Branch::ALL.iter().map(|branch| branch.sentence()).collect();
        let names: BTreeSet<_> = Branch::ALL.iter().map(|branch| branch.name()).collect();
        assert_eq!((sentences.len(), names.len()), (Branch::ALL.len(), Branch::ALL.len()));
        assert!(Branch::ALL.iter().all(|branch| branch.source().contains(' ')));
    }

    #[test]
    fn a_path_is_a_set() {
        let mut path = Path::EMPTY;
        for branch in Branch::ALL {
            assert!(!path.contains(*branch));
            path.insert(*branch);
            path.insert(*branch);
        }
        assert_eq!(path.count() as usize, Branch::ALL.len());
        assert_eq!(path.union(Path::EMPTY).iter().count(), Branch::ALL.len());
    }

    #[test]
    fn a_step_shows_its_value_in_its_sentence() {
        let step = BranchTaken { branch: Branch::GateOutsideIdt, value: 0x80 };
        assert_eq!(
            step.to_string(),
            "the gate of vector 0x80 lies outside the IDT's limit: #GP(vector)"
        );
    }
}

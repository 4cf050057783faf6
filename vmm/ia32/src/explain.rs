//! One entry, return or task switch told step by step, in the manual's order.

use crate::{
    Attempt, AttemptEnd, Interruption, InterruptionKind, Operation, Outcome, Owner, Segment, State,
};
use core::fmt;

/// A state and what came of it, as text: [`explain`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Explanation<'o> {
    before: &'o State,
    outcome: &'o Outcome,
}

/// Explains how `outcome` came from `before`.
///
/// ```
/// use ia32::{Interruption, Processor, State, explain, take};
/// let before = State { cr0: 1, ..State::default() };
/// let outcome = take(&before, &[0u8; 0], Interruption::int(3), &Processor::INTEL);
/// let text = explain(&before, &outcome).to_string();
/// assert!(text.contains("the gate of vector 0x3 lies outside the IDT's limit"));
/// assert!(text.ends_with("the processor shuts down\n"));
/// ```
pub const fn explain<'o>(before: &'o State, outcome: &'o Outcome) -> Explanation<'o> {
    Explanation { before, outcome }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { before, outcome } = self;
        writeln!(f, "before  {}", Place(before))?;
        for Attempt { operation, fault } in outcome.attempts.iter() {
            write!(f, "        {}", Name(&operation))?;
            match fault {
                Some(fault) => write!(f, ": {} ({:#x})", fault.vector, fault.error_code)?,
                None => f.write_str(": done")?,
            }
            if let Some(address) = fault.and_then(|fault| fault.address) {
                write!(f, " at {address:08x}")?;
            }
            writeln!(f)?;
        }

        writeln!(f, "\nsteps")?;
        let mut source = "";
        for (n, step) in (1..).zip(outcome.trace.steps()) {
            writeln!(f, "{n:6}  {step}")?;
            if step.branch.source() != source {
                source = step.branch.source();
                writeln!(f, "          [{source}]")?;
            }
        }
        if outcome.trace.is_truncated() {
            writeln!(f, "        … more steps than are kept")?;
        }

        writeln!(f, "\nwrites")?;
        for write in &outcome.writes {
            let digits = 2 * usize::from(write.width);
            // An entry of a paging structure has no linear address of its own.
            let paging = matches!(write.owner, Owner::PageDirectory | Owner::PageTable);
            let address = if paging { write.address } else { u64::from(write.linear) };
            write!(f, "        {address:08x}  {}", Hex(write.value, digits))?;
            write!(f, "  {}", write.owner)?;
            if paging {
                write!(f, ", for {:08x}", write.linear)?;
            }
            if write.undefined != 0 {
                write!(f, ", bits {} not defined", Hex(write.undefined, digits))?;
            }
            writeln!(f, "{}", if write.certain { "" } else { ", perhaps" })?;
        }

        writeln!(f, "\nafter   {}", Place(&outcome.state))?;
        if outcome.undefined != crate::Undefined::default() {
            writeln!(f, "        not defined: {}", Open(outcome))?;
        }
        if let Some(reason) = outcome.unspecified {
            writeln!(f, "        the manuals do not decide this: {reason:?}")?;
        }
        match outcome.end {
            AttemptEnd::Completed => writeln!(f, "        execution goes on"),
            AttemptEnd::Fault(fault) => writeln!(f, "        {} is to be delivered", fault.vector),
            AttemptEnd::Shutdown => writeln!(f, "        the processor shuts down"),
            AttemptEnd::Endless => writeln!(f, "        faults follow each other without end"),
            AttemptEnd::Unmodelled(reason) => writeln!(f, "        not modelled: {reason:?}"),
        }
    }
}

/// Ring, CS:EIP, SS:ESP, EFLAGS.
struct Place<'s>(&'s State);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0;
        if state.virtual_8086() {
            f.write_str("virtual-8086 mode")?;
        } else {
            write!(f, "ring {}", state.cpl())?;
        }
        let selector = |segment: &Segment| segment.selector;
        write!(
            f,
            ", CS:EIP {:04x}:{:08x}, SS:ESP {:04x}:{:08x}, EFLAGS {}",
            selector(state.cs()),
            state.eip,
            selector(state.ss()),
            state.general.esp,
            state.eflags
        )
    }
}

struct Name<'o>(&'o Operation);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Operation::Interruption(Interruption { vector, kind, .. }) => match kind {
                InterruptionKind::Software { .. } => write!(f, "INT {:#x}", vector.0),
                InterruptionKind::Icebp { .. } => f.write_str("INT1"),
                InterruptionKind::External => write!(f, "external interrupt {:#x}", vector.0),
                InterruptionKind::Nmi => f.write_str("NMI"),
                InterruptionKind::Fault
                | InterruptionKind::InstructionBreakpoint
                | InterruptionKind::Trap
                | InterruptionKind::Abort => {
                    write!(f, "{vector}")
                }
            },
            Operation::Iret(iret) => write!(f, "IRET, {} bytes a word", iret.size.bytes()),
            Operation::Far(far) => {
                let name = if far.call { "CALL" } else { "JMP" };
                write!(f, "far {name} to {:04x}", far.selector)
            }
        }
    }
}

struct Hex(u32, usize);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hex(value, digits) = *self;
        // Right-aligned in the eight columns of a 32-bit word.
        write!(f, "{:1$}", "", 8usize.saturating_sub(digits))?;
        write!(f, "{value:0digits$x}")
    }
}

/// Which parts of the state are open.
struct Open<'o>(&'o Outcome);

impl fmt::Display for Open<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undefined = &self.0.undefined;
        let mut separator = "";
        let general = crate::General::NAMES.into_iter().zip(undefined.general.to_array());
        let others = [("EFLAGS", undefined.eflags.0), ("CR3", undefined.cr3)];
        for (name, bits) in general.chain(others).filter(|(_, bits)| *bits != 0) {
            write!(f, "{separator}{name} bits {bits:08x}")?;
            separator = ", ";
        }
        for register in crate::SegmentRegister::ALL {
            let bit = 1 << register as u8;
            if undefined.selectors & bit != 0 {
                write!(f, "{separator}{register}")?;
                separator = ", ";
            } else if undefined.hidden & bit != 0 {
                write!(f, "{separator}hidden part of {register}")?;
                separator = ", ";
            }
        }
        if undefined.is_hidden(crate::outcome::LDTR) {
            write!(f, "{separator}hidden part of LDTR")?;
        }
        Ok(())
    }
}

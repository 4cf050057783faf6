//! A gate that led to a handler before, and names another place now: it was overwritten.
//!
//! ```text
//!  entry #2 by 0x20 ─► timer        the IDT's entry 0x20 is written over        the next 0x20 ─► #NP, #GP, #DF, shutdown
//! ```

use super::Aftermath;
use super::fault::Explained;
use super::used::Used;
use crate::check::{ChangedWord, Finding, History, LiveFrame};
use crate::entry::Fault;
use ia32::{Gate, State, Vector};

/// What a stack that has grown over a table may have above it, in bytes.
const NEAR: u32 = 16 << 10;

/// A gate that was written over.
pub(super) struct LostGate {
    vector: Vector,
    /// The last entry by it, and the offset that it named.
    entry: u64,
    offset: u32,
    /// Where it lies, and what it holds now.
    address: u32,
    raw: u64,
    /// The first byte behind its IDT.
    end: u32,
    word: ChangedWord,
}

impl LostGate {
    /// The gate of `vector` in the IDT of `state`; if none is named, one of those that were used and can be used no
    /// more, for a kernel may give a vector another handler.
    pub(super) fn find(
        used: &Used,
        aftermath: &Aftermath<'_>,
        state: &State,
        vector: Option<Vector>,
    ) -> Option<Self> {
        used.through(state.idtr.base)
            .filter(|(used, ..)| vector.is_none_or(|vector| vector == *used))
            .filter_map(|(vector, entry, offset)| Self::of(vector, entry, offset, aftermath, state))
            .find(|lost| vector.is_some() || !lost.can_be_used())
    }

    fn of(
        vector: Vector,
        entry: u64,
        offset: u32,
        aftermath: &Aftermath<'_>,
        state: &State,
    ) -> Option<Self> {
        let address = state.idtr.base.wrapping_add(u32::from(vector.0) * 8);
        let linear = aftermath.linear(state);
        let mut bytes = [0; 8];
        linear.read(address, &mut bytes)?;
        let raw = u64::from_le_bytes(bytes);
        let now = raw as u32 & 0xffff | (raw >> 32) as u32 & 0xffff_0000;
        if now == offset {
            return None;
        }
        let (word, value) = match now & 0xffff == offset & 0xffff {
            true => (address.wrapping_add(4), (raw >> 32) as u32),
            false => (address, raw as u32),
        };
        let physical = linear.paging.translate(linear.memory, word)?;
        let end = state.idtr.base.wrapping_add(u32::from(state.idtr.limit)).wrapping_add(1);
        let word = ChangedWord { address: word, physical, value };
        Some(LostGate { vector, entry, offset, address, raw, end, word })
    }

    fn can_be_used(&self) -> bool {
        Gate::decode(self.raw).is_ok_and(|gate| gate.present)
    }

    /// That it was overwritten, and by what it may have been.
    pub(super) fn explain(&self, aftermath: &Aftermath<'_>, history: &History) -> Explained {
        let above = |live: &LiveFrame| (live.frame.address.wrapping_sub(self.end), live.sequence);
        let stack = history.live().map(above).min().filter(|(bytes, _)| *bytes < NEAR);
        let stack = stack.map_or_else(String::new, |(bytes, sequence)| {
            format!(
                "; the frame of #{sequence} lies {bytes} bytes above the IDT: its stack may have grown over it"
            )
        });
        Explained::because(format!(
            "the gate of vector {:#04x}, at {:08x}, led to {} at entry #{}, and holds {:08x} {:08x} now: it has been \
             overwritten since{stack}",
            self.vector.0,
            self.address,
            aftermath.place(self.offset),
            self.entry,
            self.raw as u32,
            (self.raw >> 32) as u32,
        ))
        .advise("look for what writes there: a stack that is too small, or a wrong pointer")
    }

    /// Of its words the first that is another.
    pub(super) fn word(&self) -> ChangedWord {
        self.word
    }
}

/// The finding about `fault`, if a gate that was overwritten is what the fault is about.
pub(super) fn explained(
    used: &Used,
    fault: &Fault,
    aftermath: &Aftermath<'_>,
    history: &History,
    finding: Finding,
) -> Option<Finding> {
    let vector = match (fault.vector, fault.error_code()) {
        (Vector::DF, _) => None,
        // Bit 1 of the error code: it names an entry of the IDT.
        (Vector::GP | Vector::NP, Some(code)) if code & 2 != 0 => Some(Vector((code >> 3) as u8)),
        _ => return None,
    };
    let lost = LostGate::find(used, aftermath, &fault.after, vector)?;
    let mut finding = lost.explain(aftermath, history).add_to(finding);
    finding.changed = Some(lost.word());
    Some(finding)
}

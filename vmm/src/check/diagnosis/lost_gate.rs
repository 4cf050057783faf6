//! A gate that led to a handler before, and names another place now.
//!
//! ```text
//!  #2 by 0x20 ─► timer     the IDT's entry 0x20 is written over     the next 0x20 ─► #NP, #GP, #DF, shutdown
//! ```

use super::Aftermath;
use super::used::Used;
use crate::check::{ChangedWord, Finding, History, LiveFrame};
use crate::entry::Fault;
use ia32::{Gate, State, Vector};

/// What a stack that has grown over a table may have above it, in bytes.
const NEAR: u32 = 16 << 10;

/// A gate that is another than it was.
pub(super) struct LostGate {
    pub(super) vector: Vector,
    /// The last entry by it, and the offset that it named.
    entry: u64,
    offset: u32,
    /// Where it lies, and what it holds now.
    address: u32,
    raw: u64,
    /// The first byte behind its IDT.
    end: u32,
    /// Of its words the first that is another.
    word: ChangedWord,
}

impl LostGate {
    /// Those in the IDT of `state` that were used.
    pub(super) fn all<'a>(
        used: &'a Used,
        aftermath: &'a Aftermath<'_>,
        state: &'a State,
    ) -> impl Iterator<Item = LostGate> + 'a {
        used.through(state.idtr.base)
            .filter_map(|(vector, entry, offset)| Self::of(vector, entry, offset, aftermath, state))
    }

    /// The one that `fault` met: one that its error code names, and for #DF any. A kernel may give a vector another
    /// handler, so it counts only if it can be used no more.
    pub(super) fn met_by(fault: &Fault, used: &Used, aftermath: &Aftermath<'_>) -> Option<Self> {
        let named = match (fault.vector, fault.error_code()) {
            (Vector::DF, _) => None,
            // Bit 1 of the error code: it names an entry of the IDT.
            (Vector::GP | Vector::NP, Some(code)) if code & 2 != 0 => {
                Some(Vector((code >> 3) as u8))
            }
            _ => return None,
        };
        Self::all(used, aftermath, &fault.after)
            .find(|lost| !lost.can_be_used() && named.is_none_or(|named| named == lost.vector))
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

    /// It is a gate all the same, and may have been set on purpose.
    fn can_be_used(&self) -> bool {
        Gate::decode(self.raw).is_ok_and(|gate| gate.present)
    }

    /// The finding about a fault by this gate, with what the gate was and is, and the word for whoever looks for its
    /// writer. What is wrong with a gate that can be used, the finding says already.
    pub(super) fn add_to(
        &self,
        mut finding: Finding,
        aftermath: &Aftermath<'_>,
        history: &History,
    ) -> Finding {
        finding = finding.written_at(Some(self.word));
        let was = format!(
            "the gate of vector {:#04x}, at {:08x}, led to {} at entry #{}, and holds {:08x} {:08x} now",
            self.vector.0,
            self.address,
            aftermath.place(self.offset),
            self.entry,
            self.raw as u32,
            (self.raw >> 32) as u32,
        );
        if self.can_be_used() {
            let reason = finding.reason.map_or(was.clone(), |reason| format!("{reason}; {was}"));
            finding.reason = Some(reason);
            return finding;
        }
        let above = |live: &LiveFrame| (live.frame.address.wrapping_sub(self.end), live.sequence);
        let stack = history.live().map(above).min().filter(|(bytes, _)| *bytes < NEAR);
        let stack = stack.map_or_else(String::new, |(bytes, sequence)| {
            format!(
                "; the frame of #{sequence} lies {bytes} bytes above the IDT: its stack may have grown over it"
            )
        });
        finding
            .because(format!("{was}: it has been overwritten since{stack}"))
            .advise("look for what writes there: a stack that is too small, or a wrong pointer")
    }
}

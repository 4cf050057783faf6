//! The rest of a `rep outs` to a device that takes data in pieces: done in the guest's stead.
//!
//! KVM gathers what a `rep ins` reads into one exit, and leaves for each piece of a `rep outs`: 128 exits for a sector of a
//! disk. At each of them the registers are those of an instruction that goes on, ECX pieces before its end, so that the
//! rest can be done here, and the guest's own pass over ECX = 0 ends it. Only where the guest runs freely: on a
//! clock that counts, each piece has its time.

use super::{Pace, Run};
use crate::devices::AccessSize;
use crate::machine::LinearMemory;
use ia32::{Eflags, SegmentRegister};

/// Bytes that are moved at most before interrupts are looked at again: a sector.
const MOST: usize = 512;

impl Run {
    /// The vCPU has left for an OUT of `size` at `port`, which the device has taken. If it is one of a `rep outs`, the
    /// device takes the rest.
    #[inline]
    pub(super) fn output_rest(&mut self, port: u16, size: AccessSize, now: u64) {
        if self.devices.takes_strings(port, size) && matches!(self.pace, Pace::Free) {
            self.output_string(port, size, now);
        }
    }

    fn output_string(&mut self, port: u16, size: AccessSize, now: u64) {
        let mut state = self.machine.vcpu.state();
        let linear = LinearMemory { memory: self.machine.memory(), paging: (&state).into() };
        let mut code = [0; 3];
        let count = self.probes.read_code(&linear, state.instruction_address(), &mut code);
        let data = state.segments[SegmentRegister::Ds as usize];
        let goes_on = state.protected()
            && !state.virtual_8086()
            && state.cpl() == 0
            && state.cs().big()
            && !state.eflags.contains(Eflags::DF)
            && data.limit == u32::MAX
            && is_repeated_output(&code[..count], size);
        if !goes_on {
            return;
        }
        let piece = size.bytes();
        let mut bytes = [0; MOST];
        let wanted = (state.general.ecx as usize).min(MOST / piece) * piece;
        let from = data.base.wrapping_add(state.general.esi);
        let pieces = linear.read_some(from, &mut bytes[..wanted]) / piece;
        if pieces == 0 {
            return;
        }
        // It leads to nothing beyond the devices: this one takes data.
        let _ = self.devices.port_write_string(port, size, &bytes[..pieces * piece], now);
        state.general.ecx -= pieces as u32;
        state.general.esi = state.general.esi.wrapping_add((pieces * piece) as u32);
        self.machine.vcpu.set_registers(&state);
    }
}

/// `rep outsw` or `rep outsd` of so many bytes, in 32-bit code and out of DS:ESI.
fn is_repeated_output(code: &[u8], size: AccessSize) -> bool {
    match size {
        AccessSize::Byte => false,
        AccessSize::Word => matches!(code, [0x66, 0xF3, 0x6F] | [0xF3, 0x66, 0x6F]),
        AccessSize::Doubleword => code.starts_with(&[0xF3, 0x6F]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_output_is_told_by_its_bytes() {
        use AccessSize::{Doubleword, Word};
        assert!(is_repeated_output(b"\xf3\x6f\xc3", Doubleword));
        assert!(is_repeated_output(b"\xf3\x66\x6f", Word));
        assert!(is_repeated_output(b"\x66\xf3\x6f", Word));
        for (code, size) in
            [(b"\x6f\xc3\x90", Doubleword), (b"\xf3\x6f\xc3", Word), (b"\x2e\xf3\x6f", Doubleword)]
        {
            assert!(!is_repeated_output(code, size), "{code:02x?}");
        }
    }
}

//! A vCPU as bytes, for a recording: KVM's structures one behind the other, as this machine has them.

use super::{Snapshot, VcpuImage};
use ia32::State;
use kvm_bindings::{
    kvm_debugregs, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// No processor has more model-specific registers that KVM lists.
const MOST_REGISTERS: u32 = 4096;

impl VcpuImage {
    /// The registers that it holds.
    pub(crate) fn state(&self) -> State {
        self.snapshot.state()
    }

    /// All of it but the breakpoints, which are esp0's.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8192);
        bytes.extend_from_slice(self.snapshot.regs.as_bytes());
        bytes.extend_from_slice(self.snapshot.sregs.as_bytes());
        bytes.extend_from_slice(self.snapshot.events.as_bytes());
        bytes.extend_from_slice(self.fpu.region.as_bytes());
        bytes.extend_from_slice(self.extended_control.as_bytes());
        bytes.extend_from_slice(self.debug.as_bytes());
        bytes.extend_from_slice((self.model_specific.len() as u32).as_bytes());
        bytes.extend_from_slice(self.model_specific.as_bytes());
        bytes
    }

    /// The vCPU that these bytes are, without breakpoints; none if they are none. What is left of them goes with it.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        let regs: kvm_regs = take(&mut rest)?;
        let sregs: kvm_sregs = take(&mut rest)?;
        let events: kvm_vcpu_events = take(&mut rest)?;
        let fpu = kvm_xsave { region: take(&mut rest)?, ..kvm_xsave::default() };
        let extended_control: kvm_xcrs = take(&mut rest)?;
        let debug: kvm_debugregs = take(&mut rest)?;
        let count: u32 = take(&mut rest)?;
        if count > MOST_REGISTERS {
            return None;
        }
        let model_specific: Option<Vec<kvm_msr_entry>> =
            (0..count).map(|_| take(&mut rest)).collect();
        let image = VcpuImage {
            snapshot: Snapshot { regs, sregs, events },
            fpu: Arc::new(fpu),
            extended_control,
            debug,
            model_specific: model_specific?,
            breakpoints: [None; 4],
        };
        Some((image, rest))
    }
}

fn take<T: FromBytes + Immutable>(rest: &mut &[u8]) -> Option<T> {
    let (value, behind) = T::read_from_prefix(rest).ok()?;
    *rest = behind;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_survives_the_way_to_bytes_and_back_and_a_part_of_it_is_none() {
        let mut fpu = kvm_xsave::default();
        fpu.region[7] = 0x1234;
        let image = VcpuImage {
            snapshot: Snapshot {
                regs: kvm_regs { rip: 0xc010_0000, ..kvm_regs::default() },
                sregs: kvm_sregs { cr3: 0x1000, ..kvm_sregs::default() },
                events: kvm_vcpu_events { flags: 4, ..kvm_vcpu_events::default() },
            },
            fpu: Arc::new(fpu),
            extended_control: kvm_xcrs::default(),
            debug: kvm_debugregs { dr6: 0xffff_0ff0, ..kvm_debugregs::default() },
            model_specific: vec![kvm_msr_entry { index: 0x174, data: 8, ..Default::default() }],
            breakpoints: [None; 4],
        };
        let mut bytes = image.to_bytes();
        for length in [0, 1, 100, bytes.len() - 1] {
            assert!(VcpuImage::from_bytes(&bytes[..length]).is_none(), "{length}");
        }
        bytes.push(9);
        let (back, rest) = VcpuImage::from_bytes(&bytes).expect("it is one");
        assert_eq!(rest, [9]);
        assert_eq!(back.to_bytes(), bytes[..bytes.len() - 1]);
        assert_eq!(back.snapshot.regs.rip, 0xc010_0000);
    }
}

//! The IDT that the guest loaded, read through KVM.

use crate::machine::{LinearMemory, Machine};
use ia32::{DescriptorKind, Gate, GateKind, State, TableRegister};

/// Bytes of the largest IDT: 256 gates of eight bytes.
const LARGEST: usize = 2048;

/// A copy of the guest's IDT as of the last stop.
#[derive(Clone, Debug)]
pub struct Idt {
    register: Option<TableRegister>,
    bytes: Box<[u8; LARGEST]>,
    length: usize,
}

impl Default for Idt {
    fn default() -> Self {
        Idt { register: None, bytes: Box::new([0; LARGEST]), length: 0 }
    }
}

impl Idt {
    /// Reads the table anew; whether it has changed since the last time.
    ///
    /// In real mode, and until the guest has loaded one, there is none.
    #[inline]
    pub fn refresh(&mut self, machine: &Machine, state: &State) -> bool {
        if !state.protected() || state.idtr.limit < 7 {
            let had = self.register.take().is_some();
            self.length = 0;
            return had;
        }
        let length = (usize::from(state.idtr.limit) + 1).min(LARGEST);
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        let base = state.idtr.base;
        if self.register == Some(state.idtr)
            && self.length == length
            && linear.equals(base, &self.bytes[..length])
        {
            return false;
        }
        let mut now = [0; LARGEST];
        let read = linear.read_some(base, &mut now[..length]);
        if self.register == Some(state.idtr)
            && self.length == read
            && now[..read] == self.bytes[..read]
        {
            // Part of it is not mapped, and the rest as it was.
            return false;
        }
        // What was read before may not be mapped any more. The processor may still use it by translations that it has cached,
        // so the gates are kept.
        let kept = self.register == Some(state.idtr) && read < self.length;
        if kept && now[..read] == self.bytes[..read] {
            return false;
        }
        self.register = Some(state.idtr);
        if !kept {
            self.length = read;
        }
        self.bytes[..read].copy_from_slice(&now[..read]);
        true
    }

    /// The guest has loaded a table that can be read.
    pub fn is_loaded(&self) -> bool {
        self.length > 0
    }

    /// The gate of `vector`; none if it lies beyond the limit, in a page that is not mapped, or is
    /// no gate.
    #[inline]
    pub fn gate(&self, vector: u8) -> Option<Gate> {
        let start = usize::from(vector) * 8;
        let bytes = self.bytes[..self.length].get(start..start + 8)?;
        Gate::decode(u64::from_le_bytes(bytes.try_into().ok()?)).ok()
    }

    /// Each present interrupt or trap gate with the linear address that it leads to, by vector.
    pub fn targets(&self, machine: &mut Machine) -> Vec<(u8, u32)> {
        let state = machine.vcpu.state();
        let linear = machine.linear();
        (0..=255)
            .filter_map(|vector| Some((vector, self.target(&linear, &state, vector)?)))
            .collect()
    }

    /// A gate leads to code. Vectors of real mode, which boot loaders leave in IDTR when they go to protected mode, do
    /// not, whatever their bits say.
    pub(crate) fn leads_to_code(&self, machine: &Machine, state: &State) -> bool {
        let linear = LinearMemory { memory: machine.memory(), paging: state.into() };
        self.is_loaded() && (0..=255).any(|vector| self.target(&linear, state, vector).is_some())
    }

    /// Where the present interrupt or trap gate of `vector` leads to, if that is code.
    fn target(&self, linear: &LinearMemory<'_>, state: &State, vector: u8) -> Option<u32> {
        let gate = self.gate(vector)?;
        if !gate.present || gate.kind == GateKind::Task {
            return None;
        }
        let descriptor = linear.descriptor(state, gate.selector)?;
        let code = matches!(descriptor.kind(), DescriptorKind::Code { .. });
        code.then(|| descriptor.base().wrapping_add(gate.offset))
    }
}

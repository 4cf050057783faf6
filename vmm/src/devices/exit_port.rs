//! The exit port 0xF4: any write ends the run.
//!
//! The port is that of QEMU's `isa-debug-exit`, but what is written is told as it is: 0 is an orderly
//! power-off, all else a failure with that number. QEMU's exit status, twice the value plus one, can
//! never say that all went well; a kernel that was written for it has a status of its own that means
//! success. Which ones do can be declared ([`ExitPort::declare_good`]). A write of 1, 2 or 4 bytes counts
//! as one number.

use super::effect::Effect;

/// Which values mean a good end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitPort {
    good: Vec<u32>,
}

impl Default for ExitPort {
    fn default() -> Self {
        Self { good: vec![0] }
    }
}

impl ExitPort {
    /// From now on the end is good if QEMU would end with one of these statuses, and with no other.
    pub fn declare_good(&mut self, statuses: &[u32]) {
        self.good = statuses.iter().map(|status| status >> 1).collect();
    }

    /// What a write means.
    pub fn write(&self, value: u32) -> Effect {
        if self.good.contains(&value) {
            Effect::PowerOff(0)
        } else {
            Effect::PowerOff(value.max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_status_of_qemu_is_a_good_end_and_then_0_is_not() {
        let mut port = ExitPort::default();
        assert_eq!(port.write(0), Effect::PowerOff(0));
        assert_eq!(port.write(0x10), Effect::PowerOff(0x10));
        port.declare_good(&[33]);
        assert_eq!(port.write(0x10), Effect::PowerOff(0));
        assert_eq!(port.write(0), Effect::PowerOff(1));
    }
}

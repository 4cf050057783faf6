//! The exit port 0xF4: any write ends the run.
//!
//! The port is that of QEMU's `isa-debug-exit`, but what is written is told as it is: 0 is an orderly
//! power-off, all else a failure with that number. QEMU's exit status, twice the value plus one, can
//! never say that all went well. A write of 1, 2 or 4 bytes counts as one number.

/// Whether the value written means that the guest has ended in good order.
pub fn is_power_off(value: u32) -> bool {
    value == 0
}

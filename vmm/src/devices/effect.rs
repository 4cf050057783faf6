//! What an access can lead to, beyond the devices.

/// What a write means beyond the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing; the guest goes on.
    None,
    /// The guest has ended its run through the exit port: 0 in good order, all else a failure.
    PowerOff(u32),
    /// The guest wants the machine reset.
    Reset(ResetLine),
}

/// By which of a PC's ways the guest asked for a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetLine {
    /// Command 0xFE at port 0x64, or its output port.
    KeyboardController,
    /// Bit 0 of port 0x92.
    FastReset,
    /// Bit 2 of port 0xCF9.
    ResetControl,
}

impl std::fmt::Display for ResetLine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::KeyboardController => "the keyboard controller (port 0x64)",
            Self::FastReset => "the fast reset (port 0x92)",
            Self::ResetControl => "the reset control register (port 0xcf9)",
        })
    }
}

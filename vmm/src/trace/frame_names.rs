//! The names that a drawing of a frame can tell.

/// Names for what a frame holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameNames {
    /// The instruction that was interrupted.
    pub interrupted: Option<String>,
    /// What ends where the frame begins.
    pub top: Option<String>,
    /// What ends at the pushed ESP.
    pub esp: Option<String>,
}

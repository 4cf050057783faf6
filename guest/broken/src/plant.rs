//! The bugs, by name. Each is one `if` where it belongs: look for `Plant::Name.is_planted()`.

use arch::OneCpu;
use core::cell::Cell;

macro_rules! plants {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// What can be wrong with this kernel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Plant { $($(#[$meta])* $variant,)* }

        impl Plant {
            /// The plant of that name.
            pub(crate) fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

plants! {
    /// The switch does not store the next task's stack in the TSS.
    Esp0NotUpdated = "esp0_not_updated",
    /// It stores an address four bytes too low: as if a word were there already.
    Esp0OffByFour = "esp0_off_by_four",
    /// It stores an address four bytes too high: the first word pushed is somebody else's memory.
    Esp0AboveByFour = "esp0_above_by_four",
    /// The TSS starts with the boot stack, and only the first switch puts that right.
    Esp0BootStack = "esp0_boot_stack",
    /// The switch stores another selector in SS0: flat, writable, ring 0, and not the kernel's.
    WrongSs0 = "wrong_ss0",
    /// Two tasks' records name the same kernel stack.
    SharedStack = "shared_stack",
    /// The timer's handler changes the saved EIP: the task starts anew.
    FrameEip = "frame_eip",
    /// It changes the saved CS to another ring-3 code segment.
    FrameCs = "frame_cs",
    /// It uses the upper half of the saved CS's word for something.
    FrameCsHigh = "frame_cs_high",
    /// It gives the task I/O privilege in the saved EFLAGS.
    FrameEflags = "frame_eflags",
    /// It closes interrupts in the saved EFLAGS.
    FrameIf = "frame_if",
    /// It changes the saved ESP.
    FrameEsp = "frame_esp",
    /// It changes the saved SS to another ring-3 data segment.
    FrameSs = "frame_ss",
    /// The timer has a trap gate: its handler starts with interrupts open.
    GateTrap = "gate_trap",
    /// Vector 0x80 has a gate of 16 bits: five words of 16 bits each.
    Gate16Bit = "gate_16bit",
}

// SAFETY: set once, before the first task runs.
static PLANTED: OneCpu<Cell<Option<Plant>>> = unsafe { OneCpu::new(Cell::new(None)) };

impl Plant {
    /// Makes it the one thing that is wrong.
    pub(crate) fn choose(self) {
        PLANTED.set(Some(self));
    }

    /// Whether it is.
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}

//! Options that take one of a few words.

use clap::ValueEnum;
use esp0::boot::Loader;
use esp0::probe::Choice;
use esp0::trace::Frames;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FramesArgument {
    /// Each
    All,
    /// The first of each kind
    First,
    /// None
    None,
}

impl From<FramesArgument> for Frames {
    fn from(argument: FramesArgument) -> Self {
        match argument {
            FramesArgument::All => Frames::All,
            FramesArgument::First => Frames::First,
            FramesArgument::None => Frames::None,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LoaderArgument {
    /// GRUB 2: code 10, data 18
    Grub,
    /// QEMU's -kernel and old GRUB: code 08, data 10
    Qemu,
}

impl From<LoaderArgument> for Loader {
    fn from(argument: LoaderArgument) -> Self {
        match argument {
            LoaderArgument::Grub => Loader::Grub,
            LoaderArgument::Qemu => Loader::Qemu,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ProbeArgument {
    /// The cheapest means for each place
    Auto,
    /// Hardware breakpoints while there are any, then patches
    Breakpoint,
    /// Patched instructions only
    Patch,
    /// Nothing is caught: the guest runs as it would without esp0
    None,
}

impl From<ProbeArgument> for Choice {
    fn from(argument: ProbeArgument) -> Self {
        match argument {
            ProbeArgument::Auto => Choice::Auto,
            ProbeArgument::Breakpoint => Choice::Breakpoint,
            ProbeArgument::Patch => Choice::Patch,
            ProbeArgument::None => Choice::None,
        }
    }
}

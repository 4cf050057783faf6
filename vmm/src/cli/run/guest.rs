//! The guest as it was asked for: the same each time that it is begun.

use super::super::arguments::RunOptions;
use super::super::drives::Drives;
use super::super::failure::Failure;
use super::super::guest_files::GuestFiles;
use esp0::boot::{Boot, bios::tell_drives};
use esp0::devices::Devices;
use esp0::host::Backend;
use esp0::machine::LoaderMemory;
use esp0::run::{ClockChoice, DialogueStep};
use esp0::trace::schema::HeaderRecord;
use std::path::Path;

/// The options, and the files that they name to be booted.
pub(super) struct RequestedGuest<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) drives: Drives,
    pub(super) input: GuestFiles,
    /// What is expected of it and said to it.
    pub(super) steps: Vec<DialogueStep>,
}

impl<'a> RequestedGuest<'a> {
    /// Reads what is to be booted, and opens what is in its drives.
    pub(super) fn open(
        kernel: Option<&Path>,
        options: &'a RunOptions,
        steps: Vec<DialogueStep>,
    ) -> Result<Self, Failure> {
        let drives = Drives::open(kernel, &options.drives, &options.cmdline)?;
        let input = GuestFiles::read(kernel, options, &drives)?;
        Ok(RequestedGuest { options, drives, input, steps })
    }

    /// A BIOS boots it.
    pub(super) fn has_bios(&self) -> bool {
        self.drives.firmware.is_some()
    }

    /// Bytes of RAM.
    pub(super) fn memory_size(&self) -> u64 {
        self.options.mem << 20
    }

    /// Whether it could be loaded: bad input is bad with KVM or without.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.input.check(self.memory_size())
    }

    /// Loads it into memory that is zero.
    pub(super) fn load(&self, memory: &LoaderMemory<'_>) -> Result<Boot, Failure> {
        let mut boot = self.input.load(memory)?;
        if !self.has_bios() {
            let (disks, floppies) = self.drives.counts();
            tell_drives(memory, &boot.image, disks, floppies)
                .map_err(|error| Failure::Input(format!("the drives cannot be told: {error}")))?;
        }
        boot.entry.loader = self.options.loader.into();
        Ok(boot)
    }

    /// Its devices as they are when it begins.
    pub(super) fn devices(&self) -> Devices {
        let devices = Devices::new(self.memory_size());
        let devices = match self.options.exit_codes.as_slice() {
            [] => devices,
            good => devices.with_good_exits(good),
        };
        self.drives.attach(devices)
    }

    /// The first line of a trace of it.
    pub(super) fn header(&self, backend: &Backend, clock: ClockChoice) -> HeaderRecord {
        HeaderRecord {
            authority: backend.authority.to_string(),
            backend: backend.to_string(),
            clock: match clock {
                ClockChoice::Real | ClockChoice::Slowed { .. } => "real",
                ClockChoice::Deterministic { .. } => "deterministic",
                ClockChoice::Exits { .. } => "exits",
            }
            .into(),
            kernel: self.input.kernel.clone(),
            command_line: self.options.cmdline.clone(),
            memory: self.memory_size(),
            exact: self.options.exact,
            ..HeaderRecord::new()
        }
    }
}

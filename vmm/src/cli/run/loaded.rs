//! The guest in a machine's memory: what lies where, and what it is called.

use super::super::failure::Failure;
use super::guest::RequestedGuest;
use esp0::boot::{Boot, StartMode};
use esp0::devices::bochs_vbe;
use esp0::machine::{Machine, MachineError, VcpuImage};
use esp0::run::entry_state;
use esp0::symbols::Symbols;
use esp0::trace::visible_text;
use std::fmt::Write as _;

/// What was loaded.
pub(super) struct Loaded {
    pub(super) boot: Boot,
    pub(super) symbols: Symbols,
    /// The vCPU before the guest's state was set.
    vcpu: VcpuImage,
}

impl Loaded {
    /// Loads `guest` into a machine whose memory is zero; the vCPU then stands at its first instruction.
    pub(super) fn into(machine: &mut Machine, guest: &RequestedGuest<'_>) -> Result<Self, Failure> {
        let boot = guest.load(&machine.all_memory())?;
        if guest.has_bios() {
            machine.attach_video(bochs_vbe::ADDRESS, bochs_vbe::MEMORY)?;
        }
        let vcpu = machine.vcpu.image()?;
        machine.vcpu.set_state(&entry_state(&boot.entry));
        let symbols = guest.input.symbols(&boot);
        Ok(Loaded { boot, symbols, vcpu })
    }

    /// Does the same in a machine in which it has run.
    ///
    /// # Errors
    /// [`MachineError`] if KVM does not take the vCPU's state.
    pub(super) fn anew(
        &self,
        machine: &mut Machine,
        guest: &RequestedGuest<'_>,
    ) -> Result<(), MachineError> {
        machine.vcpu.abandon_instruction()?;
        machine.vcpu.put_back(&self.vcpu)?;
        machine.clear_memory();
        // It has been loaded once.
        if let Ok(boot) = guest.load(&machine.all_memory()) {
            machine.vcpu.set_state(&entry_state(&boot.entry));
        }
        Ok(())
    }

    /// What stands at an address, such as `user+5, user.c:41`.
    pub(super) fn name(&self, address: u32) -> Option<String> {
        let place = self.symbols.describe(address)?;
        let line = place.line.as_ref();
        let line = line.map_or(String::new(), |line| format!(", {}:{}", line.file, line.number));
        Some(format!("{}{line}", place.short()))
    }

    /// Segments, modules and the entry point, a line each: for `-v`.
    pub(super) fn told(&self) -> String {
        let mut text = String::new();
        for segment in &self.boot.image.segments {
            let range = segment.physical_range();
            let _ = writeln!(
                text,
                "segment  {:08x}-{:08x}  at {:08x}  {}{}",
                range.start,
                range.end,
                segment.virtual_address,
                if segment.is_writable() { "rw" } else { "r-" },
                if segment.is_executable() { "x" } else { "-" },
            );
        }
        for module in &self.boot.modules {
            let range = &module.physical;
            let _ = writeln!(
                text,
                "module   {:08x}-{:08x}  {}",
                range.start,
                range.end,
                visible_text(&module.command.to_string_lossy())
            );
        }
        let entry = &self.boot.entry;
        let _ = match entry.start {
            StartMode::ProtectedMode => writeln!(text, "entry    {:08x}", entry.eip),
            StartMode::RealMode { cs, ip } => {
                writeln!(text, "entry    {cs:04x}:{ip:04x}, real mode")
            }
        };
        text
    }
}

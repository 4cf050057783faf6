//! A machine as it was at an instruction boundary, as a value.

use super::image::MemoryImage;
use super::watched::Pages;
use super::{Machine, MachineError, VcpuImage, ioctl};
use std::sync::Arc;

/// A machine as it was at an instruction boundary: registers, FPU, model-specific and debug registers, pending
/// events, memory. A copy is cheap, and pages are shared between checkpoints.
#[derive(Clone, Debug)]
pub struct MachineCheckpoint {
    vcpu: Arc<VcpuImage>,
    memory: MemoryImage,
    /// What [`Machine::take_written_pages`] would tell.
    watched: Option<Pages>,
}

impl MachineCheckpoint {
    /// Its memory.
    pub fn memory(&self) -> &MemoryImage {
        &self.memory
    }
}

/// What memory was when it was last taken or put back, and the pages that may have changed since.
#[derive(Debug)]
pub(super) struct Tracker {
    image: MemoryImage,
    touched: Pages,
}

impl Machine {
    /// The machine as it is. The vCPU must stand at an instruction boundary: an access that the last exit
    /// was for has been finished.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set or its dirty log.
    pub fn checkpoint(&mut self) -> Result<MachineCheckpoint, MachineError> {
        let vcpu = Arc::new(self.vcpu.image()?);
        match &mut self.tracker {
            None => {
                self.collect_touched()?;
                self.log_writes()?;
                let image = MemoryImage::of(&self.memory);
                self.tracker = Some(Tracker { image, touched: Pages::none(self.memory.size()) });
            }
            Some(_) => self.collect_touched()?,
        }
        let memory = match &mut self.tracker {
            Some(tracker) => {
                let pages = tracker.touched.take();
                tracker.image.update(&self.memory, pages);
                tracker.image.clone()
            }
            None => MemoryImage::of(&self.memory),
        };
        Ok(MachineCheckpoint { vcpu, memory, watched: self.watched.clone() })
    }

    /// Memory as it is, with probes, if checkpoints have been taken: it shares their pages.
    pub(crate) fn image(&mut self) -> Result<Option<MemoryImage>, MachineError> {
        self.collect_touched()?;
        Ok(self.tracker.as_mut().map(|tracker| {
            let pages = tracker.touched.take();
            tracker.image.update(&self.memory, pages);
            tracker.image.clone()
        }))
    }

    /// Puts the machine back to what it was. An access that the last exit was for has been finished.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set or its dirty log.
    pub fn restore(&mut self, checkpoint: &MachineCheckpoint) -> Result<(), MachineError> {
        self.collect_touched()?;
        if let Some(tracker) = &mut self.tracker {
            let touched = tracker.touched.take();
            checkpoint.memory.write_to(&mut self.memory, &tracker.image, touched);
            tracker.image = checkpoint.memory.clone();
        }
        // What is written just now is told beside: it may be more than has changed.
        self.watched.clone_from(&checkpoint.watched);
        self.vcpu.put_back(&checkpoint.vcpu)
    }

    /// Reads which pages have been written.
    pub(super) fn collect_touched(&mut self) -> Result<(), MachineError> {
        let touched = self.tracker.as_mut().map(|tracker| &mut tracker.touched);
        let mut readers: Vec<&mut Pages> =
            touched.into_iter().chain(&mut self.watched).chain(&mut self.recent).collect();
        if readers.is_empty() {
            return Ok(());
        }
        if let Some(shadow) = &mut self.shadow {
            let pages = shadow.written_pages(&self.vm, &mut self.memory)?;
            readers.iter_mut().for_each(|reader| reader.touch(pages.iter().copied()));
            return Ok(());
        }
        let log = self
            .vm
            .get_dirty_log(0, self.memory.size() as usize)
            .map_err(ioctl("give its dirty log"))?;
        let written = self.memory.take_written_pages();
        for reader in readers {
            reader.touch_words(&log);
            reader.touch(written.iter().copied());
        }
        Ok(())
    }
}

//! A machine as it was at an instruction boundary, as a value.

use super::image::{MemoryImage, PAGE};
use super::{Machine, MachineError, VcpuImage, ioctl};
use std::sync::Arc;

/// A machine as it was at an instruction boundary: registers, FPU, model-specific and debug registers, pending
/// events, memory. A copy is cheap, and pages are shared between checkpoints.
#[derive(Clone, Debug)]
pub struct MachineCheckpoint {
    vcpu: Arc<VcpuImage>,
    memory: MemoryImage,
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
    /// A bit for each page.
    touched: Vec<u64>,
}

impl Tracker {
    /// These pages may have changed.
    pub(super) fn touch(&mut self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            if let Some(word) = self.touched.get_mut(page / 64) {
                *word |= 1 << (page % 64);
            }
        }
    }

    fn take_touched(&mut self) -> Vec<usize> {
        let mut pages = Vec::new();
        for (index, word) in self.touched.iter_mut().enumerate().filter(|(_, word)| **word != 0) {
            let bits = std::mem::take(word);
            pages.extend((0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| index * 64 + bit));
        }
        pages
    }
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
                if self.shadow.is_none() {
                    self.memory.log_writes(&self.vm)?;
                }
                let pages = (self.memory.size() as usize).div_ceil(PAGE);
                let image = MemoryImage::of(&self.memory);
                self.tracker = Some(Tracker { image, touched: vec![0; pages.div_ceil(64)] });
            }
            Some(_) => self.collect_touched()?,
        }
        let memory = match &mut self.tracker {
            Some(tracker) => {
                let pages = tracker.take_touched();
                tracker.image.update(&self.memory, pages);
                tracker.image.clone()
            }
            None => MemoryImage::of(&self.memory),
        };
        Ok(MachineCheckpoint { vcpu, memory })
    }

    /// Puts the machine back to what it was. An access that the last exit was for has been finished.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses a register set or its dirty log.
    pub fn restore(&mut self, checkpoint: &MachineCheckpoint) -> Result<(), MachineError> {
        self.collect_touched()?;
        if let Some(tracker) = &mut self.tracker {
            let touched = tracker.take_touched();
            checkpoint.memory.write_to(&self.memory, &tracker.image, touched);
            tracker.image = checkpoint.memory.clone();
        }
        self.vcpu.put_back(&checkpoint.vcpu)
    }

    /// Reads which pages have been written.
    pub(super) fn collect_touched(&mut self) -> Result<(), MachineError> {
        let Some(tracker) = &mut self.tracker else { return Ok(()) };
        if let Some(shadow) = &mut self.shadow {
            tracker.touch(shadow.written_pages(&self.vm, &self.memory)?);
            return Ok(());
        }
        let log = self
            .vm
            .get_dirty_log(0, self.memory.size() as usize)
            .map_err(ioctl("give its dirty log"))?;
        for (word, new) in tracker.touched.iter_mut().zip(log) {
            *word |= new;
        }
        tracker.touch(self.memory.take_written_pages());
        Ok(())
    }
}

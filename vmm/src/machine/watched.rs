//! The pages that were written since somebody last asked: for a recording, which holds what has changed.
//!
//! There is one dirty log, and it is read in one place (`checkpoint.rs`): whoever keeps images of memory and
//! whoever watches it both get what it says.

use super::image::PAGE;
use super::{Machine, MachineError};

/// A bit for each page.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Vec<u64>);

impl Pages {
    /// None of a memory of so many bytes.
    pub(super) fn none(size: u64) -> Self {
        Pages(vec![0; (size as usize).div_ceil(PAGE).div_ceil(64)])
    }

    /// All of them.
    fn all(size: u64) -> Self {
        let pages = (size as usize).div_ceil(PAGE);
        let mut all = Self::none(size);
        for page in 0..pages {
            all.0[page / 64] |= 1 << (page % 64);
        }
        all
    }

    pub(super) fn touch(&mut self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            if let Some(word) = self.0.get_mut(page / 64) {
                *word |= 1 << (page % 64);
            }
        }
    }

    /// As KVM's dirty log has them.
    pub(super) fn touch_words(&mut self, log: &[u64]) {
        for (word, new) in self.0.iter_mut().zip(log) {
            *word |= new;
        }
    }

    pub(super) fn take(&mut self) -> Vec<usize> {
        let mut pages = Vec::new();
        for (index, word) in self.0.iter_mut().enumerate().filter(|(_, word)| **word != 0) {
            let bits = std::mem::take(word);
            pages.extend((0..64).filter(|bit| bits & (1 << bit) != 0).map(|bit| index * 64 + bit));
        }
        pages
    }
}

impl Machine {
    /// The pages that [`take_written_pages`](Machine::take_written_pages) would tell.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses its dirty log.
    pub(crate) fn written_pages(&mut self) -> Result<Vec<usize>, MachineError> {
        self.collect_touched()?;
        let size = self.memory.size();
        Ok(self.watched.clone().unwrap_or_else(|| Pages::all(size)).take())
    }

    /// The pages (address / 4096) that were written since this was last asked; the first time all.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses its dirty log.
    pub(crate) fn take_written_pages(&mut self) -> Result<Vec<usize>, MachineError> {
        self.take_pages(|machine| &mut machine.watched)
    }

    /// The pages written since the timeline last asked.
    ///
    /// # Errors
    /// [`MachineError::Ioctl`] if KVM refuses its dirty log.
    pub(crate) fn take_recent_pages(&mut self) -> Result<Vec<usize>, MachineError> {
        self.take_pages(|machine| &mut machine.recent)
    }

    fn take_pages(
        &mut self,
        whose: fn(&mut Machine) -> &mut Option<Pages>,
    ) -> Result<Vec<usize>, MachineError> {
        if whose(self).is_none() {
            self.log_writes()?;
            *whose(self) = Some(Pages::all(self.memory.size()));
        }
        self.collect_touched()?;
        Ok(whose(self).as_mut().map(Pages::take).unwrap_or_default())
    }

    /// KVM logs what is written, if it does not yet.
    pub(super) fn log_writes(&mut self) -> Result<(), MachineError> {
        if self.shadow.is_none()
            && self.tracker.is_none()
            && self.watched.is_none()
            && self.recent.is_none()
        {
            self.memory.log_writes(&self.vm)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_told_once() {
        let mut pages = Pages::all(70 * PAGE as u64);
        assert_eq!(pages.take(), (0..70).collect::<Vec<_>>());
        assert_eq!(pages.take(), Vec::<usize>::new());
        pages.touch([3, 69, 3, 700]);
        pages.touch_words(&[1 << 5]);
        assert_eq!(pages.take(), [3, 5, 69]);
    }
}

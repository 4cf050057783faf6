//! A copy of guest memory as it was at the last boundary, so that what an event wrote can be told
//! byte by byte, and undone.
//!
//! KVM's dirty log names the pages that the vCPU has written; only those are compared and copied.
//! The log is read at every boundary, and a page that was written stays writable for as long as it is
//! written often (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2): to protect it anew after each step would cost
//! an exit at the next write, and such an exit in the middle of a delivery makes QEMU's model begin
//! the delivery again, which shows.
//!
//! esp0's own writes (patches) are in no log: [`Memory`] keeps a list of them.

use super::{MachineError, Memory, ioctl};
use kvm_bindings::{
    KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, KVMIO,
    kvm_clear_dirty_log, kvm_clear_dirty_log__bindgen_ty_1, kvm_enable_cap,
};
use kvm_ioctls::VmFd;
use std::collections::BTreeSet;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iowr_nr;

ioctl_iowr_nr!(KVM_CLEAR_DIRTY_LOG, KVMIO, 0xc0, kvm_clear_dirty_log);

const PAGE: usize = 4096;
/// Pages that may stay writable before those are protected that are not in use.
const OPEN_PAGES: usize = 4;
/// Boundaries without a change after which a page is not in use.
const IDLE: u64 = 64;

/// One byte of memory that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedByte {
    /// Guest physical address.
    pub address: u64,
    /// What it was.
    pub before: u8,
    /// What it is.
    pub after: u8,
}

/// A page that the vCPU can write without KVM's noticing.
#[derive(Clone, Copy, Debug)]
struct Open {
    page: usize,
    /// The boundary at which it was last seen to change.
    changed: u64,
}

/// Guest memory as it was at the last boundary.
pub(super) struct Shadow {
    bytes: Vec<u8>,
    /// Pages stay in the log, and writable, until they are cleared.
    manual: bool,
    /// The pages in the log, by address, with the boundary at which each was last seen to change.
    open: Vec<Open>,
    boundary: u64,
    /// The pages that have been written since they were last asked for by
    /// [`written_pages`](Shadow::written_pages).
    written: BTreeSet<usize>,
}

impl std::fmt::Debug for Shadow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shadow").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Shadow {
    /// Copies all of `memory`, and has KVM log what is written from now on.
    pub(super) fn new(vm: &VmFd, memory: &mut Memory) -> Result<Self, MachineError> {
        let manual = vm.check_extension_raw(u64::from(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2)) > 0
            && vm
                .enable_cap(&kvm_enable_cap {
                    cap: KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
                    args: [u64::from(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE), 0, 0, 0],
                    ..kvm_enable_cap::default()
                })
                .is_ok();
        memory.log_writes(vm)?;
        let mut bytes = vec![0; memory.size() as usize];
        let _ = memory.read(0, &mut bytes);
        Ok(Shadow { bytes, manual, open: Vec::new(), boundary: 0, written: BTreeSet::new() })
    }

    /// Memory as it was at the last boundary.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pages that may differ from the copy.
    fn suspects(&mut self, vm: &VmFd, memory: &mut Memory) -> Result<Vec<usize>, MachineError> {
        self.read_log(vm)?;
        let mut pages = memory.take_written_pages();
        self.written.extend(&pages);
        let of_esp0 = !pages.is_empty();
        pages.extend(self.open.iter().map(|open| open.page));
        pages.retain(|page| (page + 1) * PAGE <= self.bytes.len());
        if of_esp0 {
            pages.sort_unstable();
            pages.dedup();
        }
        Ok(pages)
    }

    /// Opens the pages that KVM's log names.
    fn read_log(&mut self, vm: &VmFd) -> Result<(), MachineError> {
        let log = vm.get_dirty_log(0, self.bytes.len()).map_err(ioctl("give its dirty log"))?;
        for (index, word) in log.into_iter().enumerate().filter(|(_, word)| *word != 0) {
            for page in (0..64).filter(|bit| word & (1 << bit) != 0).map(|bit| index * 64 + bit) {
                if let Err(place) = self.open.binary_search_by_key(&page, |open| open.page) {
                    self.open.insert(place, Open { page, changed: self.boundary });
                    self.written.insert(page);
                }
            }
        }
        Ok(())
    }

    /// The pages that have been written since this was last asked, for whoever keeps images of memory: there
    /// is one dirty log, and it is read here.
    pub(super) fn written_pages(
        &mut self,
        vm: &VmFd,
        memory: &mut Memory,
    ) -> Result<BTreeSet<usize>, MachineError> {
        // What esp0 wrote and nobody has compared yet stays to be compared.
        let own = memory.take_written_pages();
        self.written.extend(&own);
        memory.note_written_pages(own);
        self.read_log(vm)?;
        self.written.extend(self.open.iter().map(|open| open.page));
        Ok(std::mem::take(&mut self.written))
    }

    /// The vCPU stands at a boundary: this is the memory to go back to. Whether it has changed since
    /// the one before.
    pub(super) fn settle(&mut self, vm: &VmFd, memory: &mut Memory) -> Result<bool, MachineError> {
        self.boundary += 1;
        let mut changed = false;
        for page in self.suspects(vm, memory)? {
            let start = page * PAGE;
            let copy = &mut self.bytes[start..start + PAGE];
            if !memory.equals(start as u64, copy) {
                let _ = memory.read(start as u64, copy);
                if let Ok(place) = self.open.binary_search_by_key(&page, |open| open.page) {
                    self.open[place].changed = self.boundary;
                }
                changed = true;
            }
        }
        if !self.manual {
            self.open.clear();
        } else if self.open.len() > OPEN_PAGES {
            self.protect(vm)?;
        }
        Ok(changed)
    }

    /// Takes in what esp0 itself has written since.
    pub(super) fn settle_own(&mut self, memory: &mut Memory) {
        for page in memory.take_written_pages() {
            self.written.insert(page);
            if let Some(copy) = self.bytes.get_mut(page * PAGE..(page + 1) * PAGE) {
                let _ = memory.read((page * PAGE) as u64, copy);
            }
        }
    }

    /// Has KVM report the next write to the pages that are not in use.
    fn protect(&mut self, vm: &VmFd) -> Result<(), MachineError> {
        let mut bitmap = vec![0u64; self.bytes.len().div_ceil(64 * PAGE)];
        let boundary = self.boundary;
        self.open.retain(|Open { page, changed }| {
            let idle = boundary.saturating_sub(*changed) > IDLE;
            if idle {
                bitmap[page / 64] |= 1 << (page % 64);
            }
            !idle
        });
        let clear = kvm_clear_dirty_log {
            slot: 0,
            num_pages: (self.bytes.len() / PAGE) as u32,
            first_page: 0,
            __bindgen_anon_1: kvm_clear_dirty_log__bindgen_ty_1 {
                dirty_bitmap: bitmap.as_mut_ptr().cast(),
            },
        };
        // SAFETY: KVM reads the structure and the bitmap it points to, which has a bit a page.
        if unsafe { ioctl_with_ref(vm, KVM_CLEAR_DIRTY_LOG(), &clear) } != 0 {
            return Err(ioctl("clear its dirty log")(kvm_ioctls::Error::last()));
        }
        Ok(())
    }

    /// Puts memory back to what it was at the last boundary.
    pub(super) fn rewind(&mut self, vm: &VmFd, memory: &mut Memory) -> Result<(), MachineError> {
        for page in self.suspects(vm, memory)? {
            let start = page * PAGE;
            let copy = &self.bytes[start..start + PAGE];
            if !memory.equals(start as u64, copy) {
                let _ = memory.write(start as u64, copy);
            }
        }
        // What was just put back is what the copy holds.
        drop(memory.take_written_pages());
        Ok(())
    }

    /// The bytes that differ from the last boundary, by address. The boundary stays where it is.
    pub(super) fn changes(
        &mut self,
        vm: &VmFd,
        memory: &mut Memory,
    ) -> Result<Vec<ChangedByte>, MachineError> {
        let mut changes = Vec::new();
        for page in self.suspects(vm, memory)? {
            let start = page * PAGE;
            let before = &self.bytes[start..start + PAGE];
            if memory.equals(start as u64, before) {
                continue;
            }
            let mut now = [0; PAGE];
            let _ = memory.read(start as u64, &mut now);
            for (offset, (before, after)) in before.iter().zip(&now).enumerate() {
                if before != after {
                    let address = (start + offset) as u64;
                    changes.push(ChangedByte { address, before: *before, after: *after });
                }
            }
        }
        Ok(changes)
    }

    /// Whether all of memory, and not only the pages in the log, is what the copy says.
    pub(super) fn is_whole(&self, memory: &Memory) -> bool {
        memory.equals(0, &self.bytes)
    }
}

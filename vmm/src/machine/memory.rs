//! Guest physical memory: one block of RAM from address 0, without holes.
//!
//! A PC has a hole from 640 KiB to 1 MiB. Here it is RAM like the rest, so that a kernel that
//! writes text to 0xB8000 costs no exit; the Multiboot memory map still calls it reserved.
//!
//! Who may touch it is settled by types. The vCPU writes to the mapping only within KVM_RUN, which returns to the
//! thread that called it. Neither a vCPU nor a [`Memory`] can be sent to, or shared with, another thread, and a
//! `Memory` has no copies: who can read one is on the thread that would run the vCPU, and so does not run it now.

use super::{MachineError, ioctl};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use std::marker::PhantomData;
use std::sync::Arc;
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::Result as LoaderResult;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestRegionMmap, GuestUsize, MemoryRegionAddress, VolatileSlice,
};

/// Bytes from address 0 on that are in small pages. A small guest touches few pages there, and a huge one would be
/// cleared as a whole for each; who uses what lies beyond uses much of it, and each first write to a page of its own
/// leaves the guest.
const SMALL_PAGES: usize = 16 << 20;
/// Bytes of a huge page. KVM maps one to the guest only where guest and host are at the same place within it.
const HUGE_PAGE: usize = 2 << 20;

/// The mapping itself. Whoever holds it keeps it from going, and can do nothing else with it outside this file.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    region: Arc<GuestRegionMmap>,
    /// Where in the region the guest's address 0 is: at the start of a huge page, where there are any.
    start: usize,
}

impl Mapping {
    fn as_ptr(&self) -> *mut u8 {
        // SAFETY: `Memory::detached` made the region so large that `start` lies within.
        unsafe { self.region.as_ptr().add(self.start) }
    }
}

/// The guest's RAM.
///
/// It is a machine's own: it can be read while the guest stands still, and only on the thread that runs the guest.
/// No other thread sees it:
/// ```compile_fail,E0277
/// # use esp0::machine::Memory;
/// fn read_beside(memory: &Memory) {
///     std::thread::scope(|scope| {
///         scope.spawn(|| memory.read_u32(0));
///     });
/// }
/// ```
/// ```compile_fail,E0277
/// # use esp0::machine::Memory;
/// fn send_away(memory: Memory) {
///     std::thread::spawn(move || memory.read_u32(0));
/// }
/// ```
/// Nobody keeps it while the guest goes on, neither by reference nor as a copy:
/// ```compile_fail,E0502
/// # use esp0::run::Run;
/// fn read_across(run: &mut Run) -> Option<u32> {
///     let memory = run.machine().memory();
///     let _ = run.next_event();
///     memory.read_u32(0)
/// }
/// ```
/// ```compile_fail,E0308
/// # use esp0::machine::Memory;
/// # use esp0::run::Run;
/// fn copy(run: &Run) -> Memory {
///     run.machine().memory().clone()
/// }
/// ```
/// A machine keeps the memory that it was made with:
/// ```compile_fail,E0616
/// # use esp0::machine::{Machine, Memory};
/// fn replace(machine: &mut Machine, memory: Memory) {
///     machine.memory = memory;
/// }
/// ```
#[derive(Debug)]
pub struct Memory {
    ram: Mapping,
    /// Bytes of RAM.
    size: u64,
    /// The pages that esp0 itself has written, where that is asked for.
    written: Option<Vec<usize>>,
    /// Not to be sent to another thread, nor shared with one: the vCPU may run on this.
    thread: PhantomData<*mut ()>,
}

impl Memory {
    /// Maps `size` bytes and gives them to the VM as slot 0.
    pub(super) fn new(vm: &VmFd, size: u64) -> Result<Self, MachineError> {
        let memory = Self::detached(size)?;
        memory.map(vm, 0)?;
        Ok(memory)
    }

    /// A page that is no RAM: the guest reads it at `address` without an exit, from slot 1, and what it writes
    /// there are exits.
    pub(super) fn answer_reads(&self, vm: &VmFd, address: u64) -> Result<(), MachineError> {
        self.map_at(vm, 1, address, KVM_MEM_READONLY)
    }

    /// Memory of a device's own that the guest reads and writes at `address`, as slot 2.
    pub(super) fn show(&self, vm: &VmFd, address: u64) -> Result<(), MachineError> {
        self.map_at(vm, 2, address, 0)
    }

    /// Gives the memory to the VM as slot 0, or changes the slot's flags.
    fn map(&self, vm: &VmFd, flags: u32) -> Result<(), MachineError> {
        self.map_at(vm, 0, 0, flags)
    }

    fn map_at(&self, vm: &VmFd, slot: u32, address: u64, flags: u32) -> Result<(), MachineError> {
        let region = kvm_userspace_memory_region {
            slot,
            flags,
            guest_phys_addr: address,
            memory_size: self.size,
            userspace_addr: self.ram.as_ptr() as u64,
        };
        // SAFETY: the vCPU, without which nobody uses the slot, keeps this mapping (`Vcpu::new`), and the
        // machine's memory is never exchanged for another; no other slot overlaps it: slots 1 and 2 are for
        // addresses beyond any RAM.
        unsafe { vm.set_user_memory_region(region) }.map_err(ioctl("map guest memory"))
    }

    /// From now on KVM logs the pages that the vCPU writes, and this list those that esp0 does.
    pub(super) fn log_writes(&mut self, vm: &VmFd) -> Result<(), MachineError> {
        self.written.get_or_insert_default();
        self.map(vm, KVM_MEM_LOG_DIRTY_PAGES)
    }

    /// The pages (address / 4096) that esp0 has written since this was last asked.
    pub(super) fn take_written_pages(&mut self) -> Vec<usize> {
        self.written.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Puts pages back that [`take_written_pages`](Memory::take_written_pages) gave.
    pub(super) fn note_written_pages(&mut self, pages: Vec<usize>) {
        if let Some(written) = &mut self.written {
            written.extend(pages);
        }
    }

    /// The mapping, to be kept for as long as a vCPU may write to it.
    pub(super) fn mapping(&self) -> Mapping {
        self.ram.clone()
    }

    /// RAM that belongs to no VM, for tests of what only reads and writes memory.
    ///
    /// # Errors
    /// [`MachineError::Memory`] if the operating system has not that much.
    pub fn detached(size: u64) -> Result<Self, MachineError> {
        let fail = |reason: String| MachineError::Memory { size, reason };
        let length = usize::try_from(size).map_err(|error| fail(error.to_string()))?;
        let low = length.min(SMALL_PAGES);
        // What is reserved beside the RAM is never touched.
        let spare = if length > low { HUGE_PAGE } else { 0 };
        let region = GuestRegionMmap::<()>::from_range(GuestAddress(0), length + spare, None)
            .map_err(|error| fail(error.to_string()))?;
        let start = if spare == 0 { 0 } else { region.as_ptr().align_offset(HUGE_PAGE) };
        let ram = Mapping { region: Arc::new(region), start };
        // SAFETY: the mapping is ours and has `length` bytes from `start` on, of which `low` are some; the advice
        // changes no contents. Where the kernel takes none, nothing is lost.
        unsafe {
            libc::madvise(ram.as_ptr().cast(), low, libc::MADV_NOHUGEPAGE);
            libc::madvise(ram.as_ptr().add(low).cast(), length - low, libc::MADV_HUGEPAGE);
        }
        Ok(Memory { ram, size, written: None, thread: PhantomData })
    }

    /// For loaders, which want the trait of vm-memory.
    pub fn all(&mut self) -> LoaderMemory<'_> {
        LoaderMemory { ram: &self.ram, size: self.size }
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where `length` bytes from `address` on are mapped; none if any of them is no RAM.
    #[inline]
    fn host(&self, address: u64, length: u64) -> Option<*const u8> {
        if address > self.size || length > self.size - address {
            return None;
        }
        // SAFETY: the offset lies within the mapping, which has `size` bytes.
        Some(unsafe { self.ram.as_ptr().add(address as usize) })
    }

    /// The bytes from `address` on; none if any of them is no RAM.
    #[inline]
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let at = self.host(address, bytes.len() as u64)?;
        // SAFETY: the source lies in the mapping, `bytes` elsewhere; as in `read_u32` nobody writes.
        unsafe { at.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Some(())
    }

    /// Replaces the bytes from `address` on; none if any of them is no RAM.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let at = self.host(address, bytes.len() as u64)?.cast_mut();
        if let (Some(written), false) = (&mut self.written, bytes.is_empty()) {
            let end = address + bytes.len() as u64;
            let pages = address as usize / 4096..=(end as usize - 1) / 4096;
            written.extend(pages);
        }
        // SAFETY: the target lies in the mapping, which is writable, `bytes` elsewhere; as in `read_u32` the vCPU
        // does not run, and no reference into the mapping is ever made.
        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Some(())
    }

    /// The little-endian word at `address`, aligned or not.
    #[inline]
    pub fn read_u32(&self, address: u64) -> Option<u32> {
        let at = self.host(address, 4)?.cast::<u32>();
        // SAFETY: four bytes of the mapping. This is the only thread with a `Memory` of it, and the one that would
        // run the vCPU, the only other writer: neither can be sent to another.
        Some(u32::from_le(unsafe { at.read_unaligned() }))
    }

    /// The little-endian double word at `address`, aligned or not.
    #[inline]
    pub fn read_u64(&self, address: u64) -> Option<u64> {
        let at = self.host(address, 8)?.cast::<u64>();
        // SAFETY: as in `read_u32`, with eight bytes.
        Some(u64::from_le(unsafe { at.read_unaligned() }))
    }

    /// The `N` bytes from `address` on; none if any of them is no RAM.
    #[inline]
    pub fn read_array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let at = self.host(address, N as u64)?.cast::<[u8; N]>();
        // SAFETY: as in `read_u32`, with `N` bytes.
        Some(unsafe { at.read_unaligned() })
    }

    /// Whether the bytes from `address` on are `bytes`.
    #[inline]
    pub fn equals(&self, address: u64, bytes: &[u8]) -> bool {
        let Some(at) = self.host(address, bytes.len() as u64) else { return false };
        // SAFETY: both ranges are readable for the whole length, and as in `read_u32` nobody writes.
        unsafe { libc::memcmp(at.cast(), bytes.as_ptr().cast(), bytes.len()) == 0 }
    }

    /// All of RAM is zeroed, as after power-on. Pages that are zero are not touched.
    pub fn clear(&mut self) {
        const ZERO: [u8; 4096] = [0; 4096];
        for start in (0..self.size).step_by(ZERO.len()) {
            let length = (self.size - start).min(ZERO.len() as u64) as usize;
            if !self.equals(start, &ZERO[..length]) {
                let _ = self.write(start, &ZERO[..length]);
            }
        }
    }
}

/// A memory as loaders want it. It ends before the guest runs: it borrows what it writes to.
///
/// vm-memory's own types would not do: what they hand out can be kept.
#[derive(Debug)]
pub struct LoaderMemory<'a> {
    ram: &'a Mapping,
    size: u64,
}

impl GuestMemoryRegion for LoaderMemory<'_> {
    type B = ();

    fn len(&self) -> GuestUsize {
        self.size
    }

    fn start_addr(&self) -> GuestAddress {
        GuestAddress(0)
    }

    fn bitmap(&self) -> BS<'_, ()> {}

    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> LoaderResult<VolatileSlice<'_>> {
        let left = self.size.checked_sub(offset.0);
        if left.is_none_or(|left| left < count as u64) {
            return Err(GuestMemoryError::InvalidBackendAddress);
        }
        let offset = MemoryRegionAddress(offset.0 + self.ram.start as u64);
        self.ram.region.get_slice(offset, count)
    }
}

impl GuestMemoryRegionBytes for LoaderMemory<'_> {}

impl GuestMemoryBackend for LoaderMemory<'_> {
    type R = Self;

    fn iter(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self)
    }
}

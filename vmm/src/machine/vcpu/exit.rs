//! Why the vCPU stopped, and what an exit for a device or an MSR asks for.

use super::{DR6_SINGLE_STEP, Vcpu};
use kvm_bindings::{
    KVM_EXIT_DEBUG, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
    KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_IRQ_WINDOW_OPEN, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN,
    KVM_EXIT_X86_RDMSR, KVM_EXIT_X86_WRMSR,
};

/// Why the vCPU stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// OUT or OUTS; the bytes are in [`Vcpu::port_data`].
    PortWrite {
        /// I/O address.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        size: u8,
    },
    /// IN or INS; the bytes are to be put into [`Vcpu::port_data`].
    PortRead {
        /// I/O address.
        port: u16,
        /// Bytes an access: 1, 2 or 4.
        size: u8,
    },
    /// A read where there is no RAM; the guest gets what is put into [`Vcpu::mmio_data`].
    MemoryRead {
        /// Guest physical address.
        address: u64,
        /// Bytes: 1 to 8.
        size: u8,
    },
    /// A write where there is no RAM.
    MemoryWrite {
        /// Guest physical address.
        address: u64,
        /// Bytes: 1 to 8.
        size: u8,
        /// What is written, in the low `size` bytes.
        value: u64,
    },
    /// RDMSR of a register that this KVM does not know; the guest gets what is given to
    /// [`Vcpu::answer_msr_read`].
    MsrRead {
        /// ECX.
        index: u32,
    },
    /// WRMSR of a register that this KVM does not know.
    MsrWrite {
        /// ECX.
        index: u32,
        /// EDX:EAX.
        value: u64,
    },
    /// HLT; EIP is behind it.
    Halt,
    /// A maskable interrupt would be taken at this boundary, as asked for.
    InterruptWindow,
    /// One instruction has been stepped.
    Step,
    /// A hardware breakpoint matched; its instruction has not been executed.
    Breakpoint {
        /// Linear address.
        address: u32,
    },
    /// A triple fault; the registers may be reset already.
    Shutdown,
    /// KVM gave up, most often on an instruction that it cannot emulate.
    InternalError {
        /// KVM_INTERNAL_ERROR_*: 1 emulation, 2 simultaneous exceptions, 3 delivery, 4 unexpected
        /// exit.
        suberror: u32,
        /// What KVM added.
        data: Vec<u64>,
    },
    /// The processor refused the guest's state.
    EntryFailed {
        /// The vendor's reason code.
        reason: u64,
    },
    /// An alarm or another signal.
    Interrupted,
    /// Anything else.
    Other(
        /// The number of the exit reason.
        u32,
    ),
}

impl Vcpu {
    /// KVM goes behind a HLT by its emulator, which reads no code beyond the limit of CS and leaves EIP where it was; QEMU's model of
    /// a processor runs such code.
    fn skip_halt_beyond_limit(&mut self) {
        let sync = self.fd.sync_regs();
        let (eip, limit) = (sync.regs.rip as u32, sync.sregs.cs.limit);
        if eip.wrapping_sub(1) > limit && eip != 0 {
            self.set_eip(eip.wrapping_add(1));
        }
    }

    /// The linear address of EIP, if that is the first byte beyond the limit of CS.
    pub(in crate::machine) fn right_beyond_limit(&self) -> Option<u32> {
        let sync = self.fd.sync_regs();
        let (eip, cs) = (sync.regs.rip as u32, sync.sregs.cs);
        (eip != 0 && eip.wrapping_sub(1) == cs.limit).then(|| eip.wrapping_add(cs.base as u32))
    }

    pub(super) fn exit(&mut self) -> Exit {
        let run = self.fd.get_kvm_run();
        let reason = run.exit_reason;
        // SAFETY: the exit reason tells which member of the union KVM has filled.
        unsafe {
            let detail = &run.__bindgen_anon_1;
            match reason {
                KVM_EXIT_IO => {
                    let (port, size) = (detail.io.port, detail.io.size);
                    if u32::from(detail.io.direction) == KVM_EXIT_IO_OUT {
                        Exit::PortWrite { port, size }
                    } else {
                        Exit::PortRead { port, size }
                    }
                }
                KVM_EXIT_HLT => {
                    self.skip_halt_beyond_limit();
                    Exit::Halt
                }
                KVM_EXIT_IRQ_WINDOW_OPEN => Exit::InterruptWindow,
                KVM_EXIT_DEBUG => {
                    let debug = &detail.debug.arch;
                    let address = debug.pc as u32;
                    // A processor may also set the bit of a register that is not in use and holds the
                    // address by chance, such as 0 (SDM vol. 3B, "Debug status register").
                    let in_use = (0..4).any(|index| {
                        debug.dr6 & (1 << index) != 0 && self.breakpoints[index] == Some(address)
                    });
                    // A step that ends at a breakpoint is a step: the breakpoint comes next.
                    if debug.dr6 & DR6_SINGLE_STEP != 0 {
                        Exit::Step
                    } else if in_use {
                        Exit::Breakpoint { address }
                    } else {
                        Exit::Other(reason)
                    }
                }
                KVM_EXIT_MMIO => {
                    let (address, size) = (detail.mmio.phys_addr, detail.mmio.len.min(8) as u8);
                    if detail.mmio.is_write == 0 {
                        Exit::MemoryRead { address, size }
                    } else {
                        let mut data = [0; 8];
                        data[..size.into()].copy_from_slice(&detail.mmio.data[..size.into()]);
                        Exit::MemoryWrite { address, size, value: u64::from_le_bytes(data) }
                    }
                }
                KVM_EXIT_X86_RDMSR => Exit::MsrRead { index: detail.msr.index },
                KVM_EXIT_X86_WRMSR => {
                    Exit::MsrWrite { index: detail.msr.index, value: detail.msr.data }
                }
                KVM_EXIT_SHUTDOWN => Exit::Shutdown,
                KVM_EXIT_INTERNAL_ERROR => {
                    let internal = &detail.internal;
                    let count = (internal.ndata as usize).min(internal.data.len());
                    Exit::InternalError {
                        suberror: internal.suberror,
                        data: internal.data[..count].to_vec(),
                    }
                }
                KVM_EXIT_FAIL_ENTRY => {
                    Exit::EntryFailed { reason: detail.fail_entry.hardware_entry_failure_reason }
                }
                KVM_EXIT_INTR => Exit::Interrupted,
                other => Exit::Other(other),
            }
        }
    }

    /// The bytes of the port access that the last exit was for: `size` bytes for each of the
    /// accesses of a string instruction.
    pub fn port_data(&mut self) -> &mut [u8] {
        let run = self.fd.get_kvm_run();
        if run.exit_reason != KVM_EXIT_IO {
            return &mut [];
        }
        // SAFETY: the exit reason says that KVM filled `io`; the offset and length that KVM gives
        // lie within the mapping of which `run` is the beginning.
        unsafe {
            let io = run.__bindgen_anon_1.io;
            let start = (&raw mut *run).cast::<u8>().add(io.data_offset as usize);
            std::slice::from_raw_parts_mut(start, io.count as usize * usize::from(io.size))
        }
    }

    /// The bytes of the access beyond RAM that the last exit was for.
    pub fn mmio_data(&mut self) -> &mut [u8] {
        let run = self.fd.get_kvm_run();
        if run.exit_reason != KVM_EXIT_MMIO {
            return &mut [];
        }
        // SAFETY: the exit reason says that KVM filled `mmio`.
        let mmio = unsafe { &mut run.__bindgen_anon_1.mmio };
        let length = (mmio.len as usize).min(mmio.data.len());
        &mut mmio.data[..length]
    }

    /// What the RDMSR that the last exit was for gives.
    pub fn answer_msr_read(&mut self, value: u64) {
        let run = self.fd.get_kvm_run();
        if run.exit_reason == KVM_EXIT_X86_RDMSR {
            // SAFETY: the exit reason says that KVM filled `msr`.
            let msr = unsafe { &mut run.__bindgen_anon_1.msr };
            (msr.data, msr.error) = (value, 0);
        }
    }
}

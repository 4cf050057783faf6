//! What lies on a kernel stack while an entry from ring 3 is handled.

/// The general registers, as PUSHA leaves them.
#[repr(C)]
pub struct Registers {
    pub(crate) edi_esi_ebp_esp: [u32; 4],
    pub(crate) ebx: u32,
    pub(crate) edx: u32,
    pub(crate) ecx: u32,
    pub(crate) eax: u32,
}

/// What the CPU pushes for an entry from ring 3. For some faults an error code lies below it.
#[repr(C)]
pub struct Frame {
    pub(crate) eip: u32,
    pub(crate) cs: u32,
    pub(crate) eflags: u32,
    pub(crate) esp: u32,
    pub(crate) ss: u32,
}

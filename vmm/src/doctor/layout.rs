//! Where things lie in the doctor's guests, and the tables that they need, as bytes.
//!
//! They lie where a kernel is loaded later, so that the pages that [`super::quick`] touches first are
//! pages that the guest would have touched anyway. One page for one purpose, each at a linear
//! address equal to its physical one:
//! ```text
//!  101000 page directory     107000 user's code
//!  102000 page table         108000 user's stack
//!  103000 GDT, TSSs, IDT     109000 second task: its code, then its stack
//!  104000 kernel's code      10a000 DATA, which paging shows at ALIAS too
//!  105000 kernel's stack     10b000 ABSENT: not mapped
//!  106000 handlers           10c000 ALIAS of DATA
//! ```
//! What ring 3 may touch is set in the page table: its code, its stack, DATA and ALIAS.

use ia32::{Descriptor, Gate, GateKind, Selector};

const PAGE: u32 = 0x1000;
/// The first page.
const START: u32 = PAGE_DIRECTORY;

pub(super) const PAGE_DIRECTORY: u32 = 0x10_1000;
pub(super) const PAGE_TABLE: u32 = 0x10_2000;
pub(super) const GDT: u32 = 0x10_3000;
pub(super) const TSS: u32 = 0x10_3100;
pub(super) const SECOND_TSS: u32 = 0x10_3180;
pub(super) const IDT: u32 = 0x10_3200;
pub(super) const KERNEL_CODE: u32 = 0x10_4000;
pub(super) const KERNEL_STACK: u32 = 0x10_5000;
pub(super) const HANDLERS: u32 = 0x10_6000;
pub(super) const USER_CODE: u32 = 0x10_7000;
pub(super) const USER_STACK: u32 = 0x10_8000;
pub(super) const TASK_CODE: u32 = 0x10_9000;
pub(super) const DATA: u32 = 0x10_a000;
pub(super) const ABSENT: u32 = 0x10_b000;
pub(super) const ALIAS: u32 = 0x10_c000;

/// Behind the last page that a guest uses.
pub(super) const END: u32 = 0x10_d000;
/// RAM of the doctor's own machines, in bytes: too little for a page of 2 MiB, so that KVM maps
/// each page by itself.
pub(super) const RAM: u64 = 0x11_0000;

/// SS0:ESP0 of the first task. The bytes above it must stay as they are.
pub(super) const ESP0: u32 = KERNEL_STACK + 0xf00;
/// ESP of a guest that starts in ring 0.
pub(super) const KERNEL_ESP: u32 = KERNEL_STACK + 0x800;
/// ESP of a guest that starts in ring 3.
pub(super) const USER_ESP: u32 = USER_STACK + 0xf00;
/// ESP of the second task.
pub(super) const TASK_ESP: u32 = TASK_CODE + 0xf00;

/// What stacks are filled with, so that a word that was written shows.
pub(super) const FILL: u8 = 0xa5;

pub(super) const KERNEL_CS: u16 = 0x08;
pub(super) const KERNEL_DS: u16 = 0x10;
pub(super) const USER_CS: u16 = 0x1b;
pub(super) const USER_DS: u16 = 0x23;
pub(super) const TSS_SELECTOR: u16 = 0x28;
pub(super) const SECOND_TSS_SELECTOR: u16 = 0x30;

/// Descriptor attributes in the layout of [`ia32::Segment::attributes`]: accessed already, flat.
pub(super) const KERNEL_CODE_ATTRIBUTES: u16 = 0xc09b;
pub(super) const KERNEL_DATA_ATTRIBUTES: u16 = 0xc093;
pub(super) const USER_CODE_ATTRIBUTES: u16 = 0xc0fb;
pub(super) const USER_DATA_ATTRIBUTES: u16 = 0xc0f3;
pub(super) const FREE_TSS_ATTRIBUTES: u16 = 0x0089;
pub(super) const BUSY_TSS_ATTRIBUTES: u16 = 0x008b;
/// Offset of the last byte of a 32-bit TSS.
pub(super) const TSS_LIMIT: u32 = 103;

/// The system call that ring 3 may make.
pub(super) const SYSTEM_CALL: u8 = 0x80;
/// A vector for external interrupts.
pub(super) const EXTERNAL: u8 = 0x40;
/// A gate that only ring 0 may use.
pub(super) const CLOSED: u8 = 0x41;
/// A task gate to the second task.
pub(super) const TASK_GATE: u8 = 0x42;
const VECTORS: u32 = 0x81;

/// Where the guests' OUT goes. No register changes, whatever AL is.
pub(super) const PORT: u8 = 0xe5;
/// `out PORT, al`.
pub(super) const OUT: [u8; 2] = [0xe6, PORT];
const HANDLER_SIZE: u32 = 4;

/// The handler of `vector`.
pub(super) const fn handler(vector: u8) -> u32 {
    HANDLERS + vector as u32 * HANDLER_SIZE
}

/// The vector whose handler `address` lies in.
pub(super) fn vector_at(address: u32) -> Option<u8> {
    let vector = address.checked_sub(HANDLERS)? / HANDLER_SIZE;
    (vector < VECTORS).then_some(vector as u8)
}

/// The descriptors by index: null, ring 0 code and data, ring 3 code and data, two TSSs.
pub(super) fn gdt() -> Vec<u8> {
    const FLAT: u32 = 0xf_ffff;
    [
        Descriptor(0),
        Descriptor::new(0, FLAT, KERNEL_CODE_ATTRIBUTES),
        Descriptor::new(0, FLAT, KERNEL_DATA_ATTRIBUTES),
        Descriptor::new(0, FLAT, USER_CODE_ATTRIBUTES),
        Descriptor::new(0, FLAT, USER_DATA_ATTRIBUTES),
        Descriptor::new(TSS, TSS_LIMIT, BUSY_TSS_ATTRIBUTES),
        Descriptor::new(SECOND_TSS, TSS_LIMIT, FREE_TSS_ATTRIBUTES),
    ]
    .iter()
    .flat_map(|descriptor| descriptor.0.to_le_bytes())
    .collect()
}

/// An interrupt gate for each vector; only the system call's is open to ring 3.
pub(super) fn idt() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(VECTORS as usize * 8);
    for vector in 0..VECTORS {
        bytes.extend_from_slice(&gate(vector as u8).encode().to_le_bytes());
    }
    bytes
}

/// Offset of the last byte of [`idt`].
pub(super) const IDT_LIMIT: u16 = VECTORS as u16 * 8 - 1;
/// Offset of the last byte of [`gdt`].
pub(super) const GDT_LIMIT: u16 = 7 * 8 - 1;

fn gate(vector: u8) -> Gate {
    match vector {
        TASK_GATE => task_gate(),
        _ => Gate {
            kind: GateKind::Interrupt32,
            selector: Selector(KERNEL_CS),
            offset: handler(vector),
            dpl: if vector == SYSTEM_CALL { 3 } else { 0 },
            present: true,
        },
    }
}

/// A gate to the second task.
pub(super) fn task_gate() -> Gate {
    Gate {
        kind: GateKind::Task,
        selector: Selector(SECOND_TSS_SELECTOR),
        offset: 0,
        dpl: 0,
        present: true,
    }
}

/// Tells the VMM that it was reached, then returns: OUT, IRET, for each vector.
pub(super) fn handlers() -> Vec<u8> {
    const IRETD: u8 = 0xcf;
    const NOP: u8 = 0x90;
    [OUT[0], OUT[1], IRETD, NOP].repeat(VECTORS as usize)
}

/// The page directory, whose only table is [`page_table`].
pub(super) fn page_directory() -> [u8; 4] {
    (PAGE_TABLE | PageRights::User as u32).to_le_bytes()
}

#[derive(Clone, Copy)]
enum PageRights {
    Absent = 0,
    /// Present, writable.
    Kernel = 3,
    /// Present, writable, open to ring 3.
    User = 7,
}

/// Where the entries of [`page_table`] lie.
pub(super) const PAGE_TABLE_ENTRIES: u32 = PAGE_TABLE + START / PAGE * 4;

/// The entries of the page table: what the module's drawing says.
pub(super) fn page_table() -> Vec<u8> {
    (START..END)
        .step_by(PAGE as usize)
        .flat_map(|address| {
            let entry = match address {
                ABSENT => PageRights::Absent as u32,
                USER_CODE | USER_STACK | DATA => address | PageRights::User as u32,
                ALIAS => DATA | PageRights::User as u32,
                _ => address | PageRights::Kernel as u32,
            };
            entry.to_le_bytes()
        })
        .collect()
}

/// A 32-bit TSS as the processor finds it (SDM vol. 3A, "32-bit task-state segment").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tss(pub(super) [u32; 26]);

impl Tss {
    pub(super) const BACKLINK: usize = 0;
    pub(super) const ESP0: usize = 1;
    pub(super) const EIP: usize = 8;
    pub(super) const EFLAGS: usize = 9;
    pub(super) const EAX: usize = 10;
    pub(super) const ESP: usize = 14;
    pub(super) const CS: usize = 19;

    /// The first task's: only the kernel's stack is of interest.
    pub(super) fn first() -> Tss {
        let mut words = [0; 26];
        words[Tss::ESP0] = ESP0;
        words[Tss::ESP0 + 1] = u32::from(KERNEL_DS);
        // The I/O permission map begins behind the limit: there is none.
        words[25] = (TSS_LIMIT + 1) << 16;
        Tss(words)
    }

    /// A task of ring 0 that starts at [`TASK_CODE`], its general registers told apart by value.
    pub(super) fn second() -> Tss {
        let Tss(mut words) = Tss::first();
        words[7] = PAGE_DIRECTORY;
        words[Tss::EIP] = TASK_CODE;
        words[Tss::EFLAGS] = 2;
        for (index, word) in words[Tss::EAX..Tss::EAX + 8].iter_mut().enumerate() {
            *word = 0x2222_0000 + index as u32;
        }
        words[Tss::ESP] = TASK_ESP;
        words[18..24].fill(u32::from(KERNEL_DS));
        words[Tss::CS] = u32::from(KERNEL_CS);
        Tss(words)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

// Nothing in the page of tables overlaps.
const _: () =
    assert!(GDT + (GDT_LIMIT as u32) < TSS && TSS + 104 <= SECOND_TSS && SECOND_TSS + 104 <= IDT);
const _: () = assert!(IDT + (IDT_LIMIT as u32) < KERNEL_CODE);
const _: () = assert!(handler(VECTORS as u8) <= HANDLERS + PAGE && END as u64 <= RAM);

#[cfg(test)]
mod tests {
    use super::*;
    use ia32::DescriptorKind;

    #[test]
    fn each_selector_names_what_its_name_says() {
        let gdt = gdt();
        let kind = |selector: u16| {
            let at = Selector(selector).offset() as usize;
            let descriptor = Descriptor(u64::from_le_bytes(gdt[at..at + 8].try_into().unwrap()));
            (descriptor.kind(), descriptor.dpl())
        };
        assert_eq!(kind(USER_CS), (DescriptorKind::Code { conforming: false, readable: true }, 3));
        assert_eq!(kind(KERNEL_DS).1, 0);
        assert_eq!(kind(TSS_SELECTOR).0, DescriptorKind::Tss { wide: true, busy: true });
        assert_eq!(kind(SECOND_TSS_SELECTOR).0, DescriptorKind::Tss { wide: true, busy: false });
    }

    #[test]
    fn each_gate_leads_to_a_handler_that_names_its_vector() {
        let idt = idt();
        for (vector, bytes) in idt.chunks_exact(8).enumerate() {
            let gate = Gate::decode(u64::from_le_bytes(bytes.try_into().unwrap())).unwrap();
            if gate.kind != GateKind::Task {
                assert_eq!(vector_at(gate.offset), Some(vector as u8));
            }
        }
        assert_eq!(idt.len(), usize::from(IDT_LIMIT) + 1);
        assert_eq!(gdt().len(), usize::from(GDT_LIMIT) + 1);
        assert_eq!(vector_at(HANDLERS - 1), None);
        assert_eq!(vector_at(handler(0x80) + 4), None);
    }

    #[test]
    fn a_page_is_absent_and_the_stack_of_the_kernel_is_closed_to_ring_3() {
        let table = page_table();
        let entry = |address: u32| {
            let at = ((address - START) / PAGE * 4) as usize;
            u32::from_le_bytes(table[at..at + 4].try_into().unwrap())
        };
        assert_eq!(entry(ABSENT), 0);
        assert_eq!(entry(KERNEL_STACK), KERNEL_STACK | 3);
        assert_eq!(entry(ALIAS), DATA | 7);
    }

    #[test]
    fn a_task_state_segment_has_104_bytes() {
        assert_eq!(Tss::second().encode().len() as u32, TSS_LIMIT + 1);
    }
}

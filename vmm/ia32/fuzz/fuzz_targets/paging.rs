//! Any bytes as page tables and an access: translating twice gives the same, and leaves nothing to
//! mark the second time.
#![no_main]

use ia32::paging::{AccessRequest, PagingControls, Privilege, translate};
use ia32::{ReadMemory, WriteMemory, Processor};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((head, tables)) = bytes.split_at_checked(8) else { return };
    let linear = head.read_u32(0);
    let (control, how) = (head[4], head[5]);
    let paging = PagingControls {
        enabled: control & 1 == 0,
        write_protect: control & 2 != 0,
        large_pages: control & 4 != 0,
        smap: control & 8 != 0,
        alignment_check: control & 16 != 0,
        root: u32::from(head[6]) << 8,
    };
    let privilege = match how % 3 {
        0 => Privilege::User,
        1 => Privilege::Supervisor,
        _ => Privilege::Implicit,
    };
    let access = AccessRequest { write: how & 0x80 != 0, privilege };
    let processor = Processor { physical_bits: head[7], pse36: how & 0x40 != 0, ..Processor::AMD };

    let mut memory = tables.to_vec();
    let first = translate(memory.as_slice(), &paging, linear, access, &processor);
    let updates = [first.directory, first.table];
    // An entry of the directory can be one of the table too, and then it is marked twice.
    let addresses = updates.map(|update| update.map(|update| update.address));
    if addresses[0].is_some() && addresses[0] == addresses[1] {
        return;
    }
    for update in updates.into_iter().flatten() {
        memory.write_u8(update.address, update.value);
    }
    let second = translate(memory.as_slice(), &paging, linear, access, &processor);
    assert_eq!(first.result.is_ok(), second.result.is_ok());
    if first.result == second.result
        && updates.iter().flatten().all(|update| {
            // What lies behind the bytes reads as ones and cannot be marked.
            update.address < memory.len() as u64
        })
    {
        assert_eq!((second.directory, second.table), (None, None));
    }
});

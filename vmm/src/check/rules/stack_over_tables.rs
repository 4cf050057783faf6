use crate::check::glance::TableUnder;
use crate::check::{ChangedWord, Finding, Findings, History, LookBack, Subject};
use crate::entry::Entry;

/// The processor pushes into no table that it reads.
///
/// SS0:ESP0 is taken as it stands in the TSS. Where it leads into the TSS itself, the GDT or the IDT, each
/// entry from an outer ring destroys a part of them (SDM vol. 3A, "Task-state segment"). What follows is the
/// kernel's doing, not the processor's. Where ring 0 itself is interrupted, its ESP leads there. Of the GDT only what lies
/// below the highest selector in use counts, since a limit may be larger than the table.
#[inline]
pub(crate) fn stack_is_no_table(entry: &Entry, history: &History, findings: &mut Findings) {
    let after = &entry.after;
    if let Some(under) = history.glance().table_under {
        findings.add(lies_in(entry, under));
        return;
    }
    if !entry.from_outer_ring() {
        let named = [after.cs(), after.ss(), &after.tr].map(|segment| segment.selector);
        let in_gdt = named.into_iter().filter(|selector| selector & 4 == 0);
        let used = u32::from(in_gdt.max().unwrap_or(0) & 0xfff8) + 8;
        let (start, end) =
            (u64::from(after.gdtr.base), u64::from(after.gdtr.base) + u64::from(used));
        let (low, high) = (u64::from(entry.frame.address), u64::from(entry.frame.end()));
        if used <= u32::from(after.gdtr.limit) + 1 && low < end && start < high {
            findings.add(own_stack(entry));
        }
        return;
    }
    // A TSS may reach further: its I/O map. A table of 64 KiB is what a processor starts with.
    for (name, base, limit) in [
        ("TSS", after.tr.base, after.tr.limit.min(103)),
        ("GDT", after.gdtr.base, u32::from(after.gdtr.limit)),
        ("IDT", after.idtr.base, u32::from(after.idtr.limit)),
    ] {
        let (start, end) = (u64::from(base), u64::from(base) + u64::from(limit) + 1);
        let (low, high) = (u64::from(entry.frame.address), u64::from(entry.frame.end()));
        if limit < 0xffff && low < end && start < high {
            findings.add(overwritten(entry, name, base));
            return;
        }
    }
}

/// The stack lies in a table that is in use.
#[cold]
fn lies_in(entry: &Entry, under: TableUnder) -> Finding {
    match under {
        TableUnder::Idt => in_idt(entry),
        TableUnder::EndOfIdt => in_end_of_idt(entry),
        TableUnder::Directory { physical } => in_paging(entry, physical, "directory"),
        TableUnder::PageTable { physical, maps, entry: at } => {
            let table = format!("table that maps {maps:08x} to {:08x}", maps | 0x3f_ffff);
            // The address is part of the entry; the rights beside it are not wrong.
            let word = ChangedWord { address: at, physical: at.into(), value: physical };
            Finding {
                look_back: Some(LookBack::StoredPart { word, bits: !0xfff }),
                ..in_paging(entry, physical, &table)
            }
        }
    }
}

fn in_idt(entry: &Entry) -> Finding {
    Finding::new(
        "stack_over_tables",
        Subject::Kernel,
        format!("the words that {} pushed overwrite the IDT", entry.vector),
        "ESP in a stack, with room below",
        format!(
            "words from {:08x} to {:08x}; the IDT is at {:08x}, and gates stand right below them",
            entry.frame.address,
            entry.frame.end(),
            entry.after.idtr.base
        ),
    )
    .because(
        "the kernel's own stack pointer is there: it was loaded with the start of the stack, behind that table, or with \
         another address; each push destroys a gate",
    )
    .advise(
        "load ESP with the address behind the last byte of the stack: in assembly the label stands behind the bytes that \
         are reserved (`.skip 16384`, `resb 16384`), and not in front of them",
    )
}

fn in_end_of_idt(entry: &Entry) -> Finding {
    let (idtr, low) = (entry.after.idtr, entry.frame.address);
    let vector = low.wrapping_sub(idtr.base) / 8;
    Finding::new(
        "stack_over_tables",
        Subject::Kernel,
        format!("the words that {} pushed overwrite the IDT, from the gate of vector {vector:#04x} on", entry.vector),
        "ESP in a stack, with room below",
        format!(
            "words from {low:08x} to {:08x}; the IDT is at {:08x}, with limit {:04x}",
            entry.frame.end(),
            idtr.base,
            idtr.limit
        ),
    )
    .because("the stack lies right above that table, and has grown down into it: nobody has missed those gates yet")
    .advise("give that stack more room, or keep less on it; it is the one that the kernel has begun on, as a rule")
}

fn in_paging(entry: &Entry, physical: u32, table: &str) -> Finding {
    Finding::new(
        "stack_over_tables",
        Subject::Kernel,
        format!("the words that {} pushed overwrite the page {table}", entry.vector),
        "a page for the stack that is used for nothing else",
        format!(
            "words from {:08x} to {:08x}, in physical page {physical:08x}",
            entry.frame.address,
            entry.frame.end()
        ),
    )
    .because(
        "one page is a kernel stack and a part of the paging structures that CR3 leads to: it has been given away twice, or was \
         freed while one of them was in use",
    )
    .advise(
        "look at the allocator of pages: each is marked as used before it is handed out, and stays so for as long as a table or a \
         stack is in it",
    )
}

#[cold]
fn own_stack(entry: &Entry) -> Finding {
    Finding::new(
        "stack_over_tables",
        Subject::Kernel,
        format!("the words that {} pushed overwrite the GDT", entry.vector),
        "ESP in a stack, with room below",
        format!(
            "words from {:08x} to {:08x}, and the GDT is at {:08x}",
            entry.frame.address,
            entry.frame.end(),
            entry.after.gdtr.base
        ),
    )
    .because("the kernel's own stack pointer is there: it was loaded with another address than its stack's end, or has run past its low end")
    .advise("load ESP with the address behind the last byte of the stack, and give the stack more room")
}

#[cold]
fn overwritten(entry: &Entry, name: &str, base: u32) -> Finding {
    let esp0 = entry.inner_stack.map_or(0, |stack| stack.esp);
    Finding::new(
        "stack_over_tables",
        Subject::Kernel,
        format!("the words that {} pushed overwrite the {name}", entry.vector),
        "ESP0 at the end of a stack, with room below",
        format!(
            "ESP0 {esp0:08x}: words from {:08x} to {:08x}, and the {name} is at {base:08x}",
            entry.frame.address,
            entry.frame.end()
        ),
    )
    .because(format!(
        "the processor pushes below ESP0, and the {name} lies there: ESP0 is probably the start of the \
         stack's array instead of its end"
    ))
    .advise("set TSS.ESP0 to the address behind the last byte of the kernel stack")
}

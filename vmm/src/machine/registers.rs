//! KVM's register structures to [`ia32::State`] and back.
//!
//! A 32-bit guest uses the low halves only; the upper ones are dropped on the way out and zero on
//! the way in.

use ia32::{Eflags, General, Segment, State, TableRegister};
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs, kvm_sync_regs, kvm_vcpu_events};

/// KVM_VCPUEVENT_VALID_SHADOW: the interrupt shadow in the events is to be taken.
const VALID_SHADOW: u32 = 4;

/// Remembers how the attribute bytes of each register were last packed: they rarely change, and
/// packing them is most of what looking at a state costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Packing([(u64, u16); 8]);

impl Packing {
    #[inline]
    fn segment(&mut self, index: usize, from: &kvm_segment) -> Segment {
        // The first eight bytes of the attributes lie side by side and are read as one word;
        // `unusable` stands where the type's unused upper half is.
        let key = u64::from_le_bytes([
            from.type_,
            from.present,
            from.dpl,
            from.db,
            from.s,
            from.l,
            from.g,
            from.avl,
        ]) | u64::from(from.unusable) << 7;
        let (packed, attributes) = &mut self.0[index];
        if *packed != key {
            *packed = key;
            *attributes = pack(from);
        }
        Segment {
            selector: from.selector,
            attributes: *attributes,
            base: from.base as u32,
            limit: from.limit,
        }
    }
}

#[cold]
fn pack(from: &kvm_segment) -> u16 {
    if from.unusable != 0 {
        return 0;
    }
    u16::from(from.type_)
        | u16::from(from.s) << 4
        | u16::from(from.dpl) << 5
        | u16::from(from.present) << 7
        | u16::from(from.avl) << 12
        | u16::from(from.l) << 13
        | u16::from(from.db) << 14
        | u16::from(from.g) << 15
}

fn kvm_segment_from(from: &Segment) -> kvm_segment {
    let bit = |n: u32| ((from.attributes >> n) & 1) as u8;
    kvm_segment {
        base: u64::from(from.base),
        limit: from.limit,
        selector: from.selector,
        type_: from.ty(),
        present: bit(7),
        dpl: from.dpl(),
        db: bit(14),
        s: bit(4),
        l: bit(13),
        g: bit(15),
        avl: bit(12),
        unusable: u8::from(from.attributes & (1 << 7) == 0),
        padding: 0,
    }
}

#[inline]
fn table(from: &kvm_dtable) -> TableRegister {
    TableRegister { base: from.base as u32, limit: from.limit }
}

fn kvm_table_from(from: &TableRegister) -> kvm_dtable {
    kvm_dtable { base: u64::from(from.base), limit: from.limit, padding: [0; 3] }
}

/// The state that the synchronised registers hold.
#[inline]
pub(super) fn state(from: &kvm_sync_regs, packing: &mut Packing) -> State {
    let (regs, sregs) = (&from.regs, &from.sregs);
    State {
        general: General {
            eax: regs.rax as u32,
            ecx: regs.rcx as u32,
            edx: regs.rdx as u32,
            ebx: regs.rbx as u32,
            esp: regs.rsp as u32,
            ebp: regs.rbp as u32,
            esi: regs.rsi as u32,
            edi: regs.rdi as u32,
        },
        eip: regs.rip as u32,
        eflags: Eflags(regs.rflags as u32),
        segments: [
            packing.segment(0, &sregs.es),
            packing.segment(1, &sregs.cs),
            packing.segment(2, &sregs.ss),
            packing.segment(3, &sregs.ds),
            packing.segment(4, &sregs.fs),
            packing.segment(5, &sregs.gs),
        ],
        tr: packing.segment(6, &sregs.tr),
        ldtr: packing.segment(7, &sregs.ldt),
        gdtr: table(&sregs.gdt),
        idtr: table(&sregs.idt),
        cr0: sregs.cr0 as u32,
        cr2: sregs.cr2 as u32,
        cr3: sregs.cr3 as u32,
        cr4: sregs.cr4 as u32,
        interrupt_shadow: from.events.interrupt.shadow,
        nmi_blocked: from.events.nmi.masked != 0,
    }
}

/// The general registers, EIP and EFLAGS of `state`.
pub(super) fn kvm_regs_from(state: &State) -> kvm_regs {
    let general = &state.general;
    kvm_regs {
        rax: u64::from(general.eax),
        rbx: u64::from(general.ebx),
        rcx: u64::from(general.ecx),
        rdx: u64::from(general.edx),
        rsi: u64::from(general.esi),
        rdi: u64::from(general.edi),
        rsp: u64::from(general.esp),
        rbp: u64::from(general.ebp),
        rip: u64::from(state.eip),
        rflags: u64::from(state.eflags.0),
        ..kvm_regs::default()
    }
}

/// The segment, table and control registers of `state`; what it does not cover (EFER, CR8, the APIC
/// base) stays as in `before`.
pub(super) fn kvm_sregs_from(state: &State, before: &kvm_sregs) -> kvm_sregs {
    let [es, cs, ss, ds, fs, gs] = state.segments.each_ref().map(kvm_segment_from);
    kvm_sregs {
        es,
        cs,
        ss,
        ds,
        fs,
        gs,
        tr: kvm_segment_from(&state.tr),
        ldt: kvm_segment_from(&state.ldtr),
        gdt: kvm_table_from(&state.gdtr),
        idt: kvm_table_from(&state.idtr),
        cr0: u64::from(state.cr0),
        cr2: u64::from(state.cr2),
        cr3: u64::from(state.cr3),
        cr4: u64::from(state.cr4),
        interrupt_bitmap: [0; 4],
        ..*before
    }
}

/// No event pending, and what `state` holds off.
pub(super) fn kvm_events_from(state: &State) -> kvm_vcpu_events {
    let mut events = kvm_vcpu_events { flags: VALID_SHADOW, ..kvm_vcpu_events::default() };
    events.interrupt.shadow = state.interrupt_shadow;
    events.nmi.masked = u8::from(state.nmi_blocked);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_the_way_to_kvm_and_back() {
        let flat = |selector, attributes| Segment {
            selector,
            attributes,
            base: 0x1000,
            limit: 0xffff_ffff,
        };
        let mut before = State {
            eip: 0xc010_0000,
            eflags: Eflags(0x0024_0202),
            tr: Segment { selector: 0x28, attributes: 0x8b, base: 0xc020_0000, limit: 103 },
            idtr: TableRegister { base: 0xc030_0000, limit: 0x7ff },
            cr0: 0x8001_0011,
            cr3: 0x1000,
            interrupt_shadow: 1,
            nmi_blocked: true,
            ..State::default()
        };
        before.segments = [
            flat(0x23, 0xc0f3),
            flat(0x1b, 0xc0fb),
            flat(0x23, 0xc0f3),
            Segment::default(),
            flat(0x23, 0xc0f3),
            flat(0x23, 0xc0f3),
        ];
        before.general.esp = 0xbfff_fff0;
        let sync = kvm_sync_regs {
            regs: kvm_regs_from(&before),
            sregs: kvm_sregs_from(&before, &kvm_sregs::default()),
            events: kvm_events_from(&before),
        };
        assert_eq!(state(&sync, &mut Packing::default()), before);
    }
}

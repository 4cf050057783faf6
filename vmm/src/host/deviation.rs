//! What is known to be wrong with the processor models and KVMs below us, by name: all of it.
//!
//! A deviation is matched by backend, version, and the exact difference. It is never masked away: each
//! match is counted and shown, `esp0 doctor` measures those that runs meet anew, and those that have a
//! minimal case are shown by it in a test. How one is recognised stands where the difference is seen:
//! in `check/known.rs` for the entries of a run, in `conform/qemu` for cases.

use super::{Authority, Backend, Version};

/// A known deviation.
#[derive(Debug)]
pub struct Deviation {
    /// Short name, as summaries show it.
    pub name: &'static str,
    /// What the manual says and what happens instead.
    pub description: &'static str,
    /// The processor model that has it.
    pub authority: Authority,
    /// First version of the model that is known to have it.
    pub since: Version,
    /// First version that is known not to have it; none if none is known.
    pub until: Option<Version>,
    /// How it was found.
    pub evidence: &'static str,
    /// The smallest case of `esp0 conform` that shows it, if one does.
    pub case: Option<&'static str>,
}

impl Deviation {
    /// The one with this name.
    pub fn named(name: &str) -> Option<&'static Deviation> {
        DEVIATIONS.iter().find(|deviation| deviation.name == name)
    }

    /// Of what recognises deviations, by their names, those that `backend` is known to have.
    pub(crate) fn recognised<R>(
        backend: &Backend,
        recognisers: impl Iterator<Item = &'static R>,
        name: impl Fn(&R) -> &str,
    ) -> Vec<(&'static Deviation, &'static R)> {
        let named = |recogniser| Some((Deviation::named(name(recogniser))?, recogniser));
        recognisers.filter_map(named).filter(|(known, _)| known.applies_to(backend)).collect()
    }

    /// Whether `backend` is known to have it.
    pub fn applies_to(&self, backend: &Backend) -> bool {
        self.authority == backend.authority
            && backend.version.is_some_and(|version| {
                version >= self.since && self.until.is_none_or(|until| version < until)
            })
    }
}

/// What most of QEMU's have in common.
const QEMU: Deviation = Deviation {
    name: "",
    description: "",
    authority: Authority::Tcg,
    since: Version { major: 0, minor: 0 },
    until: None,
    evidence: "measured with QEMU 10.0",
    case: None,
};

/// All known deviations.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        name: "fault-pushes-rf-0",
        description: "EFLAGS.RF is pushed as 0 for a fault; the manual says 1",
        until: Some(Version { major: 10, minor: 0 }),
        evidence: "measured with QEMU 7.2: every fault; not with QEMU 10.0",
        ..QEMU
    },
    Deviation {
        name: "external-pushes-rf-1",
        description: "EFLAGS.RF is pushed as 1 for an external interrupt; the manual says 0 unless a \
             repeated string instruction is interrupted",
        since: Version { major: 8, minor: 0 },
        evidence: "measured with QEMU 10.0: every injected interrupt and NMI; not with QEMU 7.2",
        case: Some("ring3 interrupt:20"),
        ..QEMU
    },
    Deviation {
        name: "int-pushes-rf-1",
        description: "INT n, INT3, INTO and INT1 push an EFLAGS.RF that is set; the manual says 0",
        evidence: "measured with QEMU 7.2 and 10.0: each INT n right behind a return that popped RF as \
             1",
        case: Some("ring3 int:80 eflags=10202"),
        ..QEMU
    },
    Deviation {
        name: "restarted-int-pushes-next-eip",
        description: "INT n or INT3 that is refused pushes the EIP behind it, if KVM had to map the page of the \
             stack meanwhile; the manual says the EIP of the INT n",
        evidence: "measured with QEMU 7.2 and 10.0: each #GP by a closed gate on a stack that was never \
             used before, or whose page KVM had write-protected to log what is written; never on another",
        ..QEMU
    },
    Deviation {
        name: "restarted-task-gate-loses-error-code",
        description: "an exception that arises from another event's delivery comes through a task gate \
             without its error code, if KVM had to map the page of the new task's stack meanwhile",
        evidence: "measured with QEMU 7.2 and 10.0: each #GP and #DF on a stack that was never used \
             before; never on one that was",
        ..QEMU
    },
    Deviation {
        name: "descriptor-not-marked-accessed",
        description: "an event and a return load CS and SS without setting the accessed bit of the \
             descriptor; the manual says that it is set whenever a segment register is loaded",
        since: Version { major: 6, minor: 0 },
        evidence: "measured with QEMU 10.0: each entry, return and task switch whose segment was not \
             accessed before; the source of QEMU 6.0 is the same there \
             (target/i386/tcg/seg_helper.c, do_interrupt_protected)",
        case: Some("ring1 divide [0]=003c2000"),
        ..QEMU
    },
    Deviation {
        name: "error-code-without-ext",
        description: "EXT is 0 in the error code of a fault that arises while an exception or an external \
             event is delivered; the manual says 1",
        case: Some("ring3 exception:5:23cc [28]=00002050"),
        ..QEMU
    },
    Deviation {
        name: "task-switch-saves-rf-0",
        description: "a fault that switches tasks saves EFLAGS.RF as it is in the old TSS; the manual says \
             1",
        case: Some("ring1 int3 [68]=00380000 [6c]=00008500"),
        ..QEMU
    },
    Deviation {
        name: "vif-and-vip-kept",
        description: "VIF and VIP stay as they are when EFLAGS is loaded by IRET in ring 0 or from a TSS",
        case: Some("ring1 call:30 [1034]=0000a900 [5024]=00340613"),
        ..QEMU
    },
    Deviation {
        name: "iret-to-virtual-keeps-rf",
        description: "IRET to virtual-8086 mode does not load EFLAGS.RF",
        case: Some("ring0 iret [9400]=0000ffff [9408]=000f2f93"),
        ..QEMU
    },
    Deviation {
        name: "shadow-survives-exception",
        description: "the shadow of STI or MOV SS is still cast on a handler's first instruction, if the \
             instruction behind it raised an exception",
        case: Some("ring3 iret shadow=1"),
        ..QEMU
    },
    Deviation {
        name: "gate16-offset-of-32-bits",
        description: "a 16-bit gate's reserved upper half is taken for EIP's",
        case: Some("ring2 int:80 [404]=0001c600"),
        ..QEMU
    },
    Deviation {
        name: "popped-rf-lost",
        description: "an IRET or a switch of tasks by an instruction does not load EFLAGS.RF if RF was set \
             before it",
        case: Some(
            "ring1 iret eflags=10000 esp=9800 [9804]=00000062 [9808]=001912c6 [9810]=0000006a",
        ),
        ..QEMU
    },
    Deviation {
        name: "iret-keeps-null-selector",
        description: "IRET to an outer ring leaves a null selector in FS or GS as it is; the manual says 0",
        case: Some("ring1 iret16 gs=2 [c400]=00622000 [c408]=f4f4006a"),
        ..QEMU
    },
    Deviation {
        name: "task-switch-probes-whole-tss",
        description: "the page fault of a task switch names the first byte of the TSS or of the \
             descriptor's half that will be used, and a write if there will be one; the manual \
             names the access",
        case: Some("ring0 call:30 cr0=80010011 [e004]=00001065"),
        ..QEMU
    },
    Deviation {
        name: "refused-nmi-blocks-nmis",
        description: "kvm_amd blocks NMIs when it injects one, though its delivery faults and no NMI \
             handler runs",
        case: Some("virtual nmi idtr.limit=60 [10]=008b2020"),
        ..QEMU
    },
    Deviation {
        name: "refused-iret-unblocks-nmis",
        description: "kvm_amd opens NMIs as soon as EIP has left an IRET, though the IRET faulted",
        case: Some("ring3 iret16 nmi-blocked=1"),
        ..QEMU
    },
    Deviation {
        name: "iret-to-its-own-eip-keeps-nmis-blocked",
        description: "kvm_amd takes an IRET that leads to its own EIP for one that has not been executed, \
             and keeps NMIs blocked",
        case: Some(
            "ring2 iret eip=fffe nmi-blocked=1 [c400]=0000fffe [c404]=00000093 [c410]=000000a3",
        ),
        ..QEMU
    },
    Deviation {
        name: "refused-icebp-pushes-next-eip",
        description: "kvm_amd intercepts the #DB of INT1 and injects it anew behind the instruction, so \
             that a fault of its delivery pushes the EIP behind it",
        case: Some("ring3 icebp cr0=80000011 [e02c]=0000b061 [8]=00482010"),
        ..QEMU
    },
    Deviation {
        name: "injected-exception-is-benign",
        description: "a fault in the delivery of an exception that was injected is handled in its place, \
             whatever the two are; the manual says double fault or shutdown",
        case: Some("virtual exception:8:a14a [40]=001b2080"),
        ..QEMU
    },
    Deviation {
        name: "stack-limit-unchecked",
        description: "whether the words of a frame lie within the stack segment is not checked",
        case: Some("ring1 iret ss.limit=0"),
        ..QEMU
    },
    Deviation {
        name: "return-eip-unchecked",
        description: "whether the EIP that IRET pops lies within its segment is not checked by the IRET",
        case: Some("virtual iret"),
        ..QEMU
    },
    Deviation {
        name: "handler-eip-unchecked",
        description: "whether a gate's EIP lies within its segment is not checked by the delivery",
        case: Some("virtual divide [0]=0080ffff [4]=0001ee00"),
        ..QEMU
    },
    Deviation {
        name: "virtual-8086-enters-middle-ring",
        description: "a handler of ring 1 or 2 is entered from virtual-8086 mode; the manual says \
             #GP(selector)",
        case: Some("virtual int:ff [7f8]=00622ff0"),
        ..QEMU
    },
    Deviation {
        name: "local-tss-is-ts",
        description: "a TSS selector that names the LDT raises #TS; the manual says #GP, unless by IRET",
        case: Some("ring0 jump:2c"),
        ..QEMU
    },
    Deviation {
        name: "absent-inner-stack-is-ts",
        description: "an inner ring's stack segment that is not present raises #TS; the manual says #SS",
        case: Some("ring3 int:0 [0]=00512000 [4]=0000ee00 [1058]=0000ffff [105c]=00cf3300"),
        ..QEMU
    },
    Deviation {
        name: "absent-stack-is-np",
        description: "a stack segment that is not present raises #NP in an IRET or a task switch; the \
             manual says #SS",
        case: Some("ring0 iret16 [9400]=00932001 [9408]=f4f4007b [107c]=00007300"),
        ..QEMU
    },
    Deviation {
        name: "task-conforming-code-refused",
        description: "a new task's conforming code segment whose DPL is below its RPL raises #TS",
        case: Some(
            "ring0 jump:30 [504c]=00000049 [5050]=00000059 [5048]=00000000 [5054]=00000000 [5058]=00000000 [505c]=00000000",
        ),
        ..QEMU
    },
    Deviation {
        name: "task-debug-trap-ignored",
        description: "T in the new task's TSS raises no #DB",
        case: Some("ring0 call:a8 [5064]=00680001"),
        ..QEMU
    },
    Deviation {
        name: "task-fault-mixes-eips",
        description: "a fault in the new task, where an instruction switched to it, pushes the low twelve \
             bits of that instruction's linear address in the new task's EIP",
        case: Some("ring0 jump:30 [504c]=00000080 [5020]=00010000"),
        ..QEMU
    },
    Deviation {
        name: "task-eip-checked-before-error-code",
        description: "an EIP outside the new task's code segment raises #GP before the exception's error \
             code is pushed; the manual says after",
        case: Some("ring3 not-present [58]=003020b0 [5c]=0000e500 [504c]=00000080 [5020]=00010000"),
        ..QEMU
    },
    Deviation {
        name: "task-return-to-itself-keeps-nt",
        description: "IRET with NT that returns to the task it leaves keeps NT; the manual says it is \
             cleared in what is saved, and that is loaded again",
        case: Some("ring1 iret eflags=4000 [3000]=00000028"),
        ..QEMU
    },
    Deviation {
        name: "stack-address-not-wrapped",
        description: "the address of a stack word is not cut to 32 bits where the segment's base and the \
             offset exceed them",
        case: Some("ring3 int:ff [1010]=ff00ffff [1014]=ffcf93ff"),
        ..QEMU
    },
    Deviation {
        name: "task-saved-before-busy-bits",
        description: "a task switch that cannot write the TSS descriptor's busy bit has saved the old task \
             by then",
        case: Some("ring3 jump:a8 cr0=80010011 idtr.base=80000000 [e004]=00001065"),
        ..QEMU
    },
    Deviation {
        name: "smap-heeds-ac-for-tables",
        description: "EFLAGS.AC lets the processor's own accesses to tables and TSSs pass SMAP in rings 0 \
             to 2; the manual says they never do",
        case: Some("ring0 int:30 eflags=40000 cr0=80000011 cr4=200000"),
        ..QEMU
    },
    Deviation {
        name: "task16-keeps-virtual-8086",
        description: "a 16-bit task that is switched to from virtual-8086 mode runs with VM still set",
        case: Some("virtual exception:13:5358 [98]=0038ffff [9c]=0001e500"),
        ..QEMU
    },
    Deviation {
        name: "virtual-iret-pops-as-supervisor",
        description: "IRET in virtual-8086 mode reads the stack with the supervisor's rights to pages",
        case: Some("virtual iret16 cr0=80000011 cr4=200000"),
        ..QEMU
    },
    Deviation {
        name: "alignment-unchecked",
        description: "words that an event pushes or an IRET pops in ring 3 are not checked for alignment",
        case: Some("ring3 iret cr0=40011 eflags=40000 esp=9002 [9004]=00930000"),
        ..QEMU
    },
    Deviation {
        name: "iret-to-virtual-from-outer-ring",
        description: "IRET with VM in the popped EFLAGS goes to virtual-8086 mode from any ring; the \
             manual says from ring 0 only",
        case: Some("ring1 iret [c408]=000f2bc7"),
        ..QEMU
    },
    Deviation {
        name: "return-stack-rpl-checked-first",
        description: "IRET to an outer ring checks the RPL of the popped SS before it reads the \
             descriptor, whose page fault the manual has come first",
        case: Some(
            "ring1 iret cr0=80000011 cr4=200000 [e000]=00000063 [e004]=00001063 [e00c]=00003063 [e024]=00009063 [e030]=0000c063 [c404]=00000093 [c410]=00000026",
        ),
        ..QEMU
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_for_one() {
        for deviation in DEVIATIONS {
            let found = Deviation::named(deviation.name).expect("it is there");
            assert_eq!(found.description, deviation.description);
            assert!(!deviation.name.is_empty() && !deviation.description.is_empty());
        }
    }
}

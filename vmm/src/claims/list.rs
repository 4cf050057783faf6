//! The claims.

use super::hardware as h;
use super::linux as l;
use super::{Claim, Judgement, Recording, Subject, Twin};

type Judge = fn(&Recording) -> Judgement;

const fn claim(
    id: &'static str,
    sentence: &'static str,
    scenarios: &'static [&'static str],
    judge: Judge,
    twin: Twin,
) -> Claim {
    let subject = match id.as_bytes()[0] {
        b'H' => Subject::Hardware,
        b'K' => Subject::Kernel,
        _ => Subject::Linux,
    };
    Claim { id, sentence, subject, scenarios, judge, twin }
}

const fn altered(what: &'static str, alter: fn(&mut Recording) -> bool) -> Twin {
    Twin::Altered { what, alter }
}

const fn classic(
    id: &'static str,
    sentence: &'static str,
    judge: Judge,
    plant: &'static [(&'static str, &'static str)],
) -> Claim {
    claim(id, sentence, &["classic"], judge, Twin::Plants(plant))
}

/// All claims, in the order of the table.
#[rustfmt::skip]
pub const CLAIMS: &[Claim] = &[
    claim(
        "H1", "On ring 3→0 the CPU pushes exactly SS, ESP, EFLAGS, CS, EIP, in this order",
        &["micro", "classic"], h::five_words,
        altered("ESP in the first frame, by 4", h::alter_pushed_esp),
    ),
    claim(
        "H2", "Interrupted in ring 0 it changes no stack and pushes only EFLAGS, CS, EIP",
        &["micro", "classic"], h::three_words,
        altered("ESP after the first entry from ring 0, 8 lower", h::alter_ring_0_esp),
    ),
    claim(
        "H3", "The new SS:ESP come from SS0:ESP0 of the current TSS",
        &["micro", "classic"], h::stack_from_tss,
        altered("ESP0 in the TSS at the first entry, 4 higher", h::alter_tss_esp0),
    ),
    claim(
        "H4", "The CPU never writes SS0 and ESP0: they are the same before and after any entry or switch",
        &["micro", "classic"], h::tss_never_written,
        altered("ESP0 in the TSS after an entry: as if ESP had been stored there", h::alter_stored_esp0),
    ),
    claim(
        "H5", "So the kernel stack is empty at every entry from ring 3",
        &["micro", "classic"], h::stack_is_empty,
        altered("ESP after the first entry, 4 lower", h::alter_esp),
    ),
    claim(
        "H6", "The CPU saves no general register: the handler finds them as the task left them",
        &["micro", "classic"], h::registers_are_kept,
        altered("EBX after the first entry, by one bit", h::alter_ebx),
    ),
    claim(
        "H7", "A system call is a software interrupt: its frame is the same as an interrupt's",
        &["micro", "classic"], h::call_is_an_interrupt,
        altered("the place of an interrupt's frame, 4 lower", h::alter_interrupt_frame),
    ),
    claim(
        "H8", "Only privileged code chooses the stack: LTR, LGDT, or writing the TSS from ring 3 is refused",
        &["micro", "classic"], h::only_ring_0_chooses,
        altered("GDTR after the first refused instruction, 8 higher", h::alter_gdtr),
    ),
    claim(
        "H9", "IRET gives back the user's stack and flags exactly",
        &["micro", "classic"], h::iret_gives_back,
        Twin::Plants(&[("broken", "frame_eflags")]),
    ),
    claim(
        "H10", "A long string instruction is interrupted half-way, keeps its progress in registers, and resumes",
        &["micro"], h::string_instruction_resumes,
        Twin::Plants(&[("micro", "string_cut_short")]),
    ),
    classic(
        "L1", "Four stacks, one after the other: boot (0x9000:0xFF00, real mode), initial, each task's kernel stack, each task's user stack",
        l::four_stacks, &[("classic", "fifth_stack")],
    ),
    classic(
        "L2", "Task structure and kernel stack share one page: ESP0 = page + 4096, SS0 = 0x10",
        l::one_page, &[("classic", "esp0_in_mid_page")],
    ),
    classic(
        "L3", "The kernel's segments span 16 MiB, so any page there can be a kernel stack",
        l::kernel_spans_16_mib, &[("classic", "flat_kernel")],
    ),
    classic(
        "L4", "The initial stack becomes task 0's user stack",
        l::initial_stack_becomes_task_0s, &[("classic", "other_user_stack")],
    ),
    classic(
        "L5", "Ring 3 is first reached by a hand-made frame and IRET: SS 0x17, ESP, EFLAGS, CS 0x0F, EIP",
        l::hand_made_frame, &[("classic", "far_return")],
    ),
    classic(
        "L6", "Each task has a code and a data segment in its LDT, based at task number × 64 MiB",
        l::bases_64_mib_apart, &[("classic", "half_the_space")],
    ),
    classic(
        "L7", "Tasks 0 and 1 are limited to 640 KiB and map the same physical memory",
        l::first_tasks_reach_640_kib, &[("classic", "limit_one_mib")],
    ),
    classic(
        "L8", "fork does not copy the kernel stack: it sets ESP0 and SS0 for the child",
        l::children_start_with_empty_stacks, &[("classic", "fork_copies_stack")],
    ),
    classic(
        "L9", "After fork both share the user stack read-only, and the first push by either takes a page of its own",
        l::first_push_takes_a_page, &[("classic", "fork_copies_pages")],
    ),
    classic(
        "L10", "Task 0 leaves its stack clean until then",
        l::task_0_writes_nothing, &[("classic", "task_0_pushes")],
    ),
    classic(
        "L11", "Later tasks' user stacks lie at the end of their 64 MiB, below arguments and environment",
        l::user_stacks_at_the_end, &[("classic", "stack_in_the_middle")],
    ),
    classic(
        "L12", "A task switch is a far jump to the other task's TSS; it does not save ESP0",
        l::switches_leave_esp0_alone, &[("classic", "switch_saves_esp0")],
    ),
];

//! The claims.

use super::hardware as h;
use super::linux as l;
use super::{Claim, Observation, Proof, Topic, Twin};
use super::{memory as m, returning as r, suspended as s, switching as k};

type Judge = fn(&Observation) -> Proof;

const fn claim(
    id: &'static str,
    sentence: &'static str,
    scenarios: &'static [&'static str],
    judge: Judge,
    twin: Twin,
) -> Claim {
    let subject = match id.as_bytes()[0] {
        b'H' => Topic::Hardware,
        b'K' => Topic::Kernel,
        _ => Topic::Linux,
    };
    Claim { id, sentence, subject, scenarios, judge, twin }
}

const fn altered(what: &'static str, alter: fn(&mut Observation) -> bool) -> Twin {
    Twin::Altered { what, alter }
}

const fn classic(
    id: &'static str,
    sentence: &'static str,
    judge: Judge,
    twin: &'static [(&'static str, &'static str)],
) -> Claim {
    claim(id, sentence, &["classic"], judge, Twin::Kernels(twin))
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
        &["micro h8", "classic"], r::only_ring_0_chooses,
        altered("GDTR after the first refused instruction, 8 higher", r::alter_gdtr),
    ),
    claim(
        "H9", "IRET gives back the user's stack and flags exactly",
        &["micro h9", "classic"], r::iret_gives_back,
        Twin::Kernels(&[("micro h9", "flags_lost"), ("broken", "frame_eflags")]),
    ),
    claim(
        "H10", "A long string instruction is interrupted half-way, keeps its progress in registers, and resumes",
        &["micro h10"], r::string_instruction_resumes,
        Twin::Kernels(&[("micro h10", "string_cut_short")]),
    ),
    claim(
        "K1", "Each process has its own kernel stack",
        &["micro tasks", "classic"], k::stack_each,
        Twin::Kernels(&[("micro tasks", "shared_stack")]),
    ),
    claim(
        "K2", "Each thread has its own kernel stack and user stack, in one shared address space",
        &["micro k2"], k::threads_share, Twin::Kernels(&[("micro k2", "thread_copies")]),
    ),
    claim(
        "K3", "Task information is found by masking ESP",
        &["micro tasks"], k::record_by_mask, Twin::Kernels(&[("micro tasks", "wrong_record")]),
    ),
    claim(
        "K4", "A switch stores the old stack pointer and loads the new task's",
        &["micro followed", "classic"], k::switch_stores_and_loads,
        altered("the stack pointer that the first switch stored", k::alter_stored_esp),
    ),
    claim(
        "K5", "One task is pre-empted inside a system call (a long write), another runs and makes its own; both come out right",
        &["micro k5"], s::preempted_in_a_call, Twin::Kernels(&[("micro k5", "no_preemption")]),
    ),
    claim(
        "K6", "The kernel stack is the snapshot of that task's kernel work",
        &["micro k6"], s::suspended_stack_keeps, Twin::Kernels(&[("micro k6", "suspended_stack_written")]),
    ),
    claim(
        "K7", "An interrupt handler saves what it uses; the full context is saved only at a task switch",
        &["micro followed", "classic"], s::context_at_a_switch_only,
        Twin::Kernels(&[("micro followed", "context_always_saved")]),
    ),
    claim(
        "K8", "A handler's locals live on the kernel stack it arrived on",
        &["micro followed", "classic followed"], s::locals_on_this_stack,
        altered("the lowest ESP of the first handler: on another stack", s::alter_lowest_esp),
    ),
    claim(
        "K9", "Interrupts nest on the stack that is in use",
        &["micro k9"], s::interrupts_nest, Twin::Kernels(&[("micro k9", "no_nesting")]),
    ),
    claim(
        "K10", "Kernel stacks are small and fixed; nesting calls and interrupts can overflow them, and that is caught",
        &["micro k10"], m::overflow_is_caught, Twin::Kernels(&[("micro k10", "no_guard")]),
    ),
    claim(
        "K11", "User stacks grow on demand",
        &["micro k11"], m::user_stack_grows, Twin::Kernels(&[("micro k11", "stacks_do_not_grow")]),
    ),
    claim(
        "K12", "Ring 3 cannot touch kernel memory, though it is mapped",
        &["micro k12", "classic"], m::kernel_memory_is_closed,
        Twin::Kernels(&[("micro k12", "kernel_page_open")]),
    ),
    claim(
        "K13", "The kernel trusts no user pointer and no user ESP",
        &["micro k13", "classic"], m::nothing_is_trusted,
        Twin::Kernels(&[("micro k13", "pointer_trusted")]),
    ),
    claim(
        "K14", "The kernel reaches user memory only through its copy routines",
        &["micro k14"], m::one_way_to_user_memory, Twin::Kernels(&[("micro k14", "direct_access")]),
    ),
    claim(
        "K15", "A zombie keeps its kernel stack until its parent reaps it; then it is freed",
        &["micro k15", "classic"], m::zombie_keeps_its_stack,
        Twin::Kernels(&[("micro k15", "zombie_stack_reused"), ("classic", "zombie_freed")]),
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

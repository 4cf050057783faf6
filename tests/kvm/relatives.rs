//! Kernels with one fault each, of the kinds that authors have reported and in other forms: each is told with its
//! cause, and the same kernel with the fault mended has no finding. They are in `tests/c`.

use tests::{Output, compiled, compiled_to_debug, esp0, mended, stripped};

/// A kernel, and what the report has to contain.
struct Relative {
    file: &'static str,
    name: &'static str,
    says: &'static [&'static str],
    /// The program's exit status: 0 for what is only noted.
    status: i32,
}

const fn fault(
    file: &'static str,
    name: &'static str,
    status: i32,
    says: &'static [&'static str],
) -> Relative {
    Relative { file, name, says, status }
}

#[rustfmt::skip]
const RELATIVES: [Relative; 191] = [
    fault("dying", "EMPTY_DIRECTORY", 4, &["shut down", "is not mapped: its directory entry (00000000"]),
    fault("dying", "WRONG_CS", 4, &["names CS 0010, and GDT entry 2 is a data segment", "name the kernel's code segment"]),
    fault("dying", "TASK_GATE", 1, &["the gate of vector 0x80 is a task gate (type 5)", "8e"]),
    fault("dying", "HALF_AN_ADDRESS", 4, &["gate 0x80 leads to 0000", "where there is no code", "(calls+0)"]),
    fault("dying", "NO_POINTER", 4, &["where there is no code", "a pointer to a function"]),
    fault("dying", "PANIC_WITH_TICKS", 1, &["#GP(0098)", "nothing returned from", "a loop with interrupts open"]),
    fault("dying", "BREAKPOINT", 1, &["its gate has DPL 0, ring 3 may not use `int3`"]),
    fault("entering", "NO_RAM_BELOW_ESP0", 4, &["finds no stack of ring 0", "where there is no RAM", "rule way_back,"]),
    fault("entering", "STACK_NOT_MAPPED", 4, &["finds no stack of ring 0", "kernel_stack", "is not mapped"]),
    fault("entering", "TSS_ELSEWHERE", 4, &["SS0 is 0: it was not stored, or the TSS lies elsewhere"]),
    fault("entering", "EXCHANGED_SELECTORS", 1, &["was refused with #GP(0020)", "CS and SS are exchanged"]),
    fault("entering", "EXCHANGED_ESP", 1, &["was refused with #GP", "ESP and SS are exchanged"]),
    fault("entering", "EXCHANGED_BEHIND_A_NO_OP", 1, &["was refused with #GP", "ESP and SS are exchanged"]),
    fault("entering", "DESCRIPTORS_OF_RING_0", 1, &["while the descriptor has DPL 0", "give GDT entry 3 DPL 3", "fa"]),
    fault("entering", "TABLE_OF_SUPERVISOR", 1, &["U/S is 0 in its page-table entry"]),
    fault("esp0", "ANOTHER_ARRAY", 1, &["ESP0 is not the end of a stack", "overwrite `names`", "rule stack_in_data,"]),
    fault("esp0", "ADDRESS_OF_POINTER", 1, &["overwrite `before`", "the start of `stack_top`"]),
    fault("esp0", "IN_CODE", 4, &["ESP0 is not the end of a stack", "the code of"]),
    fault("overflow", "INTO_A_TABLE", 1, &["`own_stack` was used down to its last word", "`names` below it"]),
    fault("overflow", "NESTS", 4, &["interrupt 0x20 has interrupted its own handler"]),
    fault("interrupts", "NO_GATE_FOR_IRQ", 1, &["IDT entry 0x30: it is empty", "IRQ 0 came by that vector"]),
    fault("interrupts", "OTHER_EXCEPTIONS", 1, &["IRQ 0 came as vector 16, which is #MF's"]),
    fault("interrupts", "NOT_OPENED", 4, &["halts with IF=0", "interrupts are closed where it would come"]),
    fault("interrupts", "ALL_MASKED", 4, &["is masked in the 8259, as are all others"]),
    fault("interrupts", "FUNCTION_AS_HANDLER", 1, &["the handler of vector 0x20 ends in RET"]),
    fault("interrupts", "TRAP_GATE", 0, &["the gate of external interrupt 0x20 is a trap gate"]),
    fault("switches", "FRAMES_EXCHANGED", 1, &["the frame to return to and ESP0 were taken from different tasks", "findings=1 "]),
    fault("switches", "OPEN_SWITCH", 0, &["an interrupt came between the change of ESP0 and that of ESP", "`cli`", "rule open_switch"]),
    fault("switches", "PREEMPTED_SWITCH", 4, &["interrupts are open within the switch"]),
    fault("sysenter", "SYSENTER_ESP_FORGOTTEN", 1, &["SYSENTER of task 2 is on the stack of suspended task 1", "to IA32_SYSENTER_ESP where TSS.ESP0 is set"]),
    fault("call_gate", "ENDS_IN_IRET", 1, &["pops what the call gate 0030 has pushed, which is no frame of IRET's", "takes the caller's ESP", "end the handler in `lret`", "findings=1 "]),
    fault("call_gate", "PARAMETERS_LEFT", 1, &["removes 0 bytes of parameters, and the call gate 0030 has copied 8", "`lret $8`", "findings=1 "]),
    fault("call_gate", "CALL_GATE_DPL", 1, &["stopped itself after #GP(0030)", "GDT entry 6 is a call gate of DPL 0, and ring 3 may not call by it", "type byte ec in place of 8c", "findings=1 "]),
    fault("call_gate", "STALE_ESP0", 1, &["task 2 has entered by a call gate on the stack of suspended task 1", "overwrites the frame of #1", "rule suspended_stack,", "findings=1 "]),
    fault("task_gate", "GATE_ON_USED_STACK", 1, &["the task of the task gate of #DF runs on a stack that is in use", "overwrites the frame of #1", "rule task_gate,", "findings=1 "]),
    fault("task_gate", "ERROR_CODE_LEFT", 1, &["the task of the task gate of #DF begins one word lower each time", "`add esp, 4` before that IRET", "rule task_gate,", "findings=1 "]),
    fault("unexpected", "SEGMENT_NOT_PRESENT", 1, &["stopped itself after #NP(0020)", "GDT entry 4"]),
    fault("unexpected", "STACK_NOT_PRESENT", 1, &["stopped itself after #SS(0010)", "GDT entry 2"]),
    fault("unexpected", "GATE_NOT_PRESENT", 1, &["stopped itself after #NP(0402)", "IDT entry 0x80"]),
    fault("unexpected", "TASK_SWITCHED", 1, &["stopped itself after #NM"]),
    fault("unexpected", "DIVIDES_BY_ZERO", 1, &["stopped itself after #MF"]),
    fault("unexpected", "BOUND_EXCEEDED", 1, &["stopped itself after #BR"]),
    fault("unexpected", "FAULT_IN_A_FAULT", 1, &["stopped itself after #DF at `mov dword ptr [0x40000000], 1`"]),
    fault("entering", "ESP_AS_EFLAGS", 1, &["goes to virtual-8086 mode", "4 bytes too many were removed", "EFLAGS 00000002"]),
    fault("entering", "VM_IN_EFLAGS", 1, &["pops EFLAGS 00020002 with VM set", "clear VM"]),
    fault("entering", "WORD_ABOVE", 1, &["was refused with #GP", "4 bytes too few were removed", "lies a whole frame", "`add esp, 4` before the IRET"]),
    fault("acknowledged", "EOI_TO_SLAVE", 4, &["IRQ 0 is in service", "written to port 0xa0, and there was nothing to end"]),
    fault("acknowledged", "EOI_OF_ANOTHER", 4, &["IRQ 0 is in service", "0x61 was written to port 0x20: the end of IRQ 1"]),
    fault("acknowledged", "EOI_INTO_MASK", 4, &["IRQ 0 is in service", "0x20 stands in the mask"]),
    fault("interrupts", "SEGMENTS_EXCHANGED", 1, &["FS and GS are not what #1 interrupted", "in the reverse order"]),
    fault("dying", "PANICS_ELSEWHERE", 1, &["stopped itself after #GP(0098)", "lies beyond the table's limit"]),
    fault("acknowledged", "EOI_MISSES_MASTER", 4, &["the cascade, IRQ 2, is in service", "an EOI to both controllers"]),
    fault("interrupts", "SELECTORS_EXCHANGED", 0, &["goes on with other selectors", "the reverse order of their pushes"]),
    fault("entering", "TF_IN_EFLAGS", 1, &["stopped itself after #GP(000a)", "TF is set in EFLAGS 00000102", "clear TF"]),
    fault("entering", "HANDLER_IN_RING_3", 1, &["vector 0x80 names CS 001b, a segment of ring 3", "name the kernel's code segment"]),
    fault("dying", "STRAYS", 4, &["ring 0 went on at cccccccc", "nothing returned from that page fault"]),
    fault("dying", "JUMPS_TO_ITSELF", 1, &["stopped itself after #GP(0028)", "a TSS of DPL 0, and busy"]),
    fault("dying", "SHORT_TABLE", 4, &["#GP(0010) of `mov ds, ", "GDT entry 2 lies beyond the table's limit", "whole size less 1 as its limit"]),
    fault("dying", "AFTER_STACK_SEGMENT", 4, &["#GP(0008) of `jmp far", "make GDT entry 1 a code segment of ring 0"]),
    fault("dying", "PAGING_ALONE", 1, &["stopped itself after #GP(0000)", "PG (bit 31) is set, and PE (bit 0) is not"]),
    fault("dying", "STACK_OVER_IDT", 1, &["the gate of vector 0x20, at ", "has been overwritten since", "its stack may have grown over it"]),
    fault("dying", "COMES_BY_ITSELF", 1, &["several vectors lead to this handler", "jumped to its handler"]),
    fault("acknowledged", "MASKED_FOR_GOOD", 4, &["IRQ 0 came last in entry #", "masked in the 8259 since", "to port 0x21: fe"]),
    fault("switches", "SWITCH_TO", 1, &["entered on the stack of suspended task 1", "store the end of the next task's"]),
    fault("switches", "ESP0_FOLLOWS", 1, &["where the task's registers had been saved", "not its saved stack pointer", "in task 1", "rule empty_stack"]),
    fault("switches", "CHILD_ON_PARENTS_STACK", 1, &["goes on in the kernel, on a stack onto which another task has entered meanwhile (#2)", "its TSS gets the end of the new stack as ESP0", "rule suspended_stack"]),
    fault("switches", "START_OF_ALLOCATED", 1, &["ESP0 is the start of a stack, not its end", "what lies below it", "the frame that the task was begun with lies at the end of the 8192 bytes"]),
    fault("entering", "BY_POINTER", 1, &["was refused with #GP(0018)", "CS 0018 with RPL 0", "put 001b as CS"]),
    fault("switches", "NEVER_LOADED", 4, &["switched tasks before TR held one", "(`ltr`)"]),
    fault("entering", "NARROW_TSS", 4, &["which is a TSS of 16 bits", "give the descriptor type 9"]),
    fault("entering", "CS_WITH_EFLAGS", 1, &["was refused with #GP", "CS and EFLAGS are exchanged"]),
    fault("entering", "THREE_WORDS", 1, &["the popped SS 0x1000", "pops five words"]),
    fault("entering", "WORD_ABOVE_IF_ALONE", 1, &["8 bytes too few were removed", "EFLAGS 00000200"]),
    fault("esp0", "ABOVE_A_RECORD", 1, &["ESP0 was 4 bytes too high", "(record+32)", "(record+44), 4 bytes lower"]),
    fault("tables", "NO_FAR_JUMP", 1, &["was refused with #GP(0010)", "CS is 0010 since before that GDT was loaded", "a far jump right after LGDT"]),
    fault("tables", "LIDT_OF_GDT", 4, &["IDTR is what GDTR is", "fill in LIDT's six bytes"]),
    fault("tables", "OPENED_BEFORE_LIDT", 4, &["no IDT has been loaded", "before interrupts are opened"]),
    fault("tables", "LIMIT_BEFORE_GATE", 1, &["stopped itself after #GP(0402)", "the limit in IDTR, 00ff, ends the table before it", "07ff for 256 gates"]),
    fault("tables", "FIELDS_OF_16_BITS", 4, &["finds no stack of ring 0", "stand two bytes too low", "declare it as 32 bits"]),
    fault("tables", "INT_OF_A_FAULT", 0, &["in the handler of `int 0x0e`", "came to the handler of #PF by `int 0x0e`", "INT n none", "DPL 0"]),
    fault("tables", "TASK_WITHOUT_DIRECTORY", 4, &["shut down at `jmp far", "has CR3 00000000", "at offset 0x1c"]),
    fault("tables", "DIRECTORY_CLEARED", 4, &["its directory entry (00000000", "directory+0) is empty"]),
    fault("tables", "LIMIT_IN_BYTES", 1, &["beyond the limit of CS 001b", "counts bytes, since G is 0", "cf in place of 4f", "rule code_limit,"]),
    fault("tables", "BEYOND_ITS_LIMIT", 1, &["beyond the limit of CS 0018", "counts bytes, since G is 0", "rule code_limit,"]),
    fault("tables", "HALTS_BEHIND_ITS_LIMIT", 1, &["beyond the limit of CS 0018", "verdict: findings ", "rule code_limit,"]),
    fault("sysenter", "NO_SYSENTER_ESP", 1, &["SYSENTER has loaded ESP with 0", "MSR 175"]),
    fault("unexpected", "STEPS_ITSELF", 1, &["stopped itself after #DB", "TF is set in the EFLAGS that were interrupted, 00000102"]),
    fault("unexpected", "SSE_NOT_ENABLED", 1, &["stopped itself after #UD at `movaps", "CR4.OSFXSR is 0"]),
    fault("dying", "TABLE_NOT_MAPPED", 4, &["cannot be read: CR2", "give LGDT the linear address"]),
    fault("dying", "NARROW_CODE", 4, &["GDT entry 1, is a code segment of 16 bits", "cf in place of 8f"]),
    fault("retraced", "RETURN_OVERWRITTEN", 4, &["`ret` at", "(fill+", "led to 00400000", "was written by `mov"]),
    fault("retraced", "CLOSED_FOR_GOOD", 4, &["goes on with IF=0", "--clock deterministic"]),
    fault("retraced", "THREAD_STARTS_CLOSED", 4, &["goes on with IF=0", "--clock deterministic"]),
    fault("retraced", "STACK_OVER_CODE", 1, &["ring 0 runs in main", "has been written over", "bytes of f4", "(clear+"]),
    fault("retraced", "NO_OTHER_RING", 4, &["by a frame that #2 has pushed in ring 0", "ring 3 is not meant"]),
    fault("retraced", "BY_VALUE", 1, &["the vector of #1, which interrupted DS 0023", "was written by `mov", "(by_value+"]),
    fault("retraced", "STUB_STOPS", 1, &["stopped itself after #GP(0098)", "(stops+11)"]),
    fault("retraced", "DIRECTORY_WITHOUT_STACK", 4, &["#PF(0000) of `ret`", "(handle+", "in each page directory"]),
    fault("retraced", "DIRECTORY_OVERWRITTEN", 4, &["has been written over", "who writes 00010046 there", "was written by `mov", "(note+"]),
    fault("clock", "EOI_MISSES_SLAVE", 4, &["IRQ 8 is in service in the slave 8259 since entry #", "no EOI was written to it", "write 0x20 to port 0xa0 as well"]),
    fault("clock", "CLOCK_NOT_READ", 4, &["IRQ 8 came last in entry #", "register C of the clock has not been read since", "read port 0x71"]),
    fault("clock", "CASCADE_MASKED", 4, &["IRQ 8 waits in the slave 8259, and the master masks IRQ 2", "to port 0x21: fa"]),
    fault("clock", "MASTER_ALONE", 1, &["IRQ 8 came as vector 0x22, which is the master's IRQ 2", "none (ICW1 bit 1: it is alone) in the master and 02 in the slave"]),
    fault("clock", "ALL_LINES_OPEN", 0, &["halts for good in the handler of IRQ 8, at the first", "all lines of both 8259s are open"]),
    fault("interrupts", "HALF_A_COUNT", 4, &["the timer stands still", "0x9b at port 0x40, and nothing more"]),
    fault("interrupts", "READ_ONCE", 4, &["a loop that reads no memory", "`test eax, eax`", "(seen+0)", "declare the variable `volatile`"]),
    fault("interrupts", "LIDT_OF_TABLE", 4, &["LIDT was given the table itself, at ", "not that of the table"]),
    fault("interrupts", "POINTER_NOT_PACKED", 4, &["IDTR names no table", "the struct is not packed"]),
    fault("switches", "NEW_TASK_OWES_EOI", 4, &["IRQ 0 is in service since entry #", "it was left for task", "before the handler changes the stack"]),
    fault("apic", "APIC_NOT_ENDED", 4, &["vector 0x20 is in service in the local APIC since entry #1", "write 0 to FEE000B0"]),
    fault("apic", "APIC_DISABLED", 4, &["the APIC is disabled by software", "000000ff there", "bit 8 (0x100)"]),
    fault("apic", "APIC_COUNTS_ONCE", 0, &["timer came last in entry #1, and does not come again", "bit 17 (0x20000)"]),
    fault("apic", "COUNTS_ONCE", 0, &["IRQ 0 came last in entry #1", "the timer counted once", "mode 0, by the control word 0x30"]),
    fault("apic", "CLOSED_BY_ONES", 4, &["masked in the 8259, though the kernel has set its timer", "a mask of 01", "fe opens IRQ 0 alone"]),
    fault("apic", "ANOTHER_PIN", 4, &["pin 0 of the I/O APIC is open, and the timer is at pin 2"]),
    fault("roots", "LARGE_PAGES_OFF", 4, &["has PS set, a page of 4 MiB, and CR4.PSE is 0", "set CR4.PSE (bit 4)"]),
    fault("roots", "WIDE_ENTRIES", 4, &["have entries of eight bytes, which are those of PAE", "set CR4.PAE (bit 5)"]),
    fault("roots", "DIRECTORY_IN_A_STRUCT", 4, &["(space+12), which is no multiple of 4096", "align the page directory"]),
    fault("tables", "SIXTEEN_BYTES", 1, &["its gates stand 16 bytes apart", "a gate of 64-bit mode", "rule gate_kind,"]),
    fault("tables", "STACK_SEGMENT_OF_RING_0", 1, &["stopped itself after #TS(0010)", "SS in the TSS of 0030, at ", "is 0010", "as SS in that TSS"]),
    fault("sysenter", "NO_SYSENTER_CS", 1, &["stopped itself after #GP(0000) at `sysenter`", "IA32_SYSENTER_CS (MSR 174) is 0"]),
    fault("sysenter", "CLOSED_AFTER_SYSEXIT", 4, &["ring 3 runs with IF=0", "SYSEXIT loads no EFLAGS", "`sti` as the instruction right before SYSEXIT"]),
    fault("sysenter", "NESTED_TASK", 1, &["NT (bit 14) is set", "clear NT where the kernel is entered by SYSENTER"]),
    fault("interrupts", "TELLS_OF_ANOTHER", 1, &["in the handler of interrupt 0x20, and tells of an exception", "`#0 Divide error, system halted`", "the processor has raised no exception"]),
    fault("retraced", "POPS_BESIDE", 1, &["ESP0 is 4 bytes too low", "4 bytes higher"]),
    fault("first_frames", "CONTEXT_SHORT", 4, &["had taken", "(worker+0) before", "4 bytes below the word that RET took", "EBX, ESI, EBP, EIP", "or 1 word short", "that frame: "]),
    fault("first_frames", "CONTEXT_LONG", 4, &["4 bytes above that word lies", "(worker+0)", "1 word too many below it", "that frame: "]),
    fault("first_frames", "CONTEXT_REVERSED", 4, &["`pop ebx` at", "had taken", "(worker+0) before", "laid out in another order: "]),
    fault("first_frames", "FLAGS_POPPED_FIRST", 4, &["no PUSHF has pushed that", "12 bytes above lies 00000202", "a POP takes it into EBP", "in the reverse order of their pushes"]),
    fault("first_frames", "NO_WAY_OUT", 4, &["nobody had called", "led there, by the word at", "where the word right above says", "that frame: "]),
    fault("first_frames", "FRAME_ELSEWHERE", 4, &["led to 00400000", "lay on the stack that was in use then", "on another task's stack", "cast it to `char *` first"]),
    fault("entering", "FRAME_OF_ZEROS", 1, &["was refused with #GP", "was never filled in, or has been cleared: all 21 words", "copy its words, not the pointer to it"]),
    fault("entering", "NO_BACKLINK", 4, &["stand four bytes too low, at offsets 0 and 4", "a TSS begins with the backlink"]),
    fault("interrupts", "CALLED_HANDLER", 1, &["what is popped as EIP is where the CALL at", "a plain one that ends in RET"]),
    fault("switches", "LARGER_THAN_STACKS", 1, &["ESP0 lies 1024 bytes above the end of the frame that was popped, as it did at #1", "by the same constant"]),
    fault("retraced", "EIP_ADDED", 1, &["2 bytes behind the", "into the middle of an instruction", "nothing has to be added", "was written by `add"]),
    fault("retraced", "MAIN_RETURNS", 1, &["where ESP was when the program was begun", "first function has returned"]),
    fault("retraced", "RUNS_ON", 4, &["nobody had called second: a call in first had returned to", "let the code behind that call stop"]),
    fault("retraced", "PROGRAM_OVER_STACK", 1, &["the stack is where it should be", "overwritten after it had been saved", "in ring 3, after #"]),
    fault("overflow", "OVER_THE_GUARD", 1, &["on the stack of task 1 below page", "lists takes 8192 bytes of it at once", "-fstack-clash-protection"]),
    fault("tables", "TABLE_IN_A_FRAME", 4, &["the GDT lies on the stack", "a function that has returned", "a static one"]),
    fault("tss", "TSS_COPIED", 1, &["entered on the stack of suspended task 1", "which is meant, stands in another TSS", "keep one TSS"]),
    fault("tss", "TSS_OF_EACH", 1, &["entered on the stack of suspended task 1", "TR names the TSS at ", "ESP0 is 00107000", " in both", "before TR is loaded with it"]),
    fault("upon", "LOCK_IN_HANDLER", 4, &["the handler of interrupt 0x20 waits for ever, with IF=0", "`lock bts dword ptr", "the word is 00000001", "has interrupted: interrupts are closed", "whoever holds that lock cannot give it back", "rule spin,"]),
    fault("upon", "FAULTS_IN_HANDLER", 4, &["the handler of #PF meets the same fault itself", "page 50000000 is not mapped", "upon each other", "findings=1 "]),
    fault("upon", "IRQ_STACK_ANEW", 1, &["has overwritten the frame that it returns by", "it loads ESP with", "above that frame", "findings=1 "]),
    fault("stubs_alone", "NARROW_POP", 1, &["16 bytes too few were removed", "`popaw` at ", "write `popal`"]),
    fault("stubs_alone", "ARGUMENT_IN_EAX", 4, &["that function takes it from EAX, by `call dword ptr [eax+4]`", "EAX is what #1 has interrupted, 40000000", "`mov eax, esp`"]),
    fault("copied", "COPIED_STACK", 1, &["entered on another kernel stack", "`mov esp,ebp` at ", "took ESP from 00107", "each saved EBP"]),
    fault("copied", "STACK_EXCHANGED", 1, &["`ret` at ", "led to 00000000", "`mov cr3,eax` at ", "had put other memory under the stack", "load CR3 where nothing more is popped"]),
    fault("interrupts", "DATA_OF_PROGRAM", 1, &["uses its variables by the program's DS", "DS 0023, base 00200000", "load DS and ES with 0010", "rule data_segment,"]),
    fault("switches", "ONE_USER_STACK", 1, &["have one stack in ring 3: both were begun with ESP ", "has written over what #", "put another stack's end as ESP into the frame", "rule shared_user_stack,", "findings=1 "]),
    fault("switches", "ONE_PAGE_FOR_STACKS", 1, &["have one stack in ring 3: both were begun with ESP 00301000", "map that page of the stack to the same memory", "map a page of its own at 00300000 for task 2", "findings=1 "]),
    fault("overflow", "NAME_TOO_LONG", 4, &["ring 0 runs with ESP ffffffff, where there is no RAM", "what it was loaded from has been overwritten"]),
    fault("pointers", "EBX_NOT_SAVED", 1, &["#PF(0000) at `mov eax, [ebx+4]`", "EBX is 00000000: it came there by `mov ebx,0`", "(counts+", "`mov esp,edx` at ", "(exchange+11)", "nothing has put back", "push EBX, ESI, EDI and EBP"]),
    fault("pointers", "THREAD_WITHOUT_RETURN", 1, &["EBX is 00000000: it came there by `mov ebx,[esp+", "(serves+", "as an argument; RET has led to that function", "lay out a return address"]),
    fault("pointers", "ONE_TOO_MANY", 1, &["the IRET at ", "was refused with #GP(0068)", "--clock deterministic"]),
    fault("pointers", "NULL_IN_A_LIST", 1, &["look for a null pointer", "EDX is 00000000: it came there by `mov edx,[edx+4]`", "(items+20)"]),
    fault("gates", "TYPE_IN_FRONT", 4, &["holds 8e, so the two are exchanged", "exchange the two fields"]),
    fault("gates", "CODE_FOR_ADDRESS", 4, &["the first four bytes of the code of `timer`", "declare the handler as a function"]),
    fault("gates", "VECTOR_AS_A_BYTE", 4, &["pushes its vector as a byte", "(by_byte+2)", "ffffff80 lies on the stack for 80", "push dword 0x80"]),
    fault("gates", "BIOS_BY_INT", 0, &["in the handler of its own `int 0x10`", "the BIOS's service for the screen", "in virtual-8086 mode"]),
    fault("gates", "STACK_BEHIND_GATES", 1, &["overwrite the IDT", "gates stand right below them", "the label stands behind the bytes", "findings=1 "]),
    fault("roots", "ROOT_BY_ITS_LINEAR_ADDRESS", 4, &["CR3 is c0102000 (second+0), where there is no RAM", "load CR3 with the directory's physical address", "00102000 (second+0)"]),
    fault("roots", "HEAP_IN_ONE_ROOT", 1, &["page d0000000 is not mapped", "(roots+0) maps that page", "they have not the same part of the kernel"]),
    fault("roots", "PAGE_GIVEN_TWICE", 1, &["overwrite the page table that maps 00400000 to 007fffff", "given away twice", "findings=1 "]),
    fault("sysenter", "SYSENTER_BY_IRET", 1, &["was refused with #GP", "entered by SYSENTER, which pushes nothing", "leave by SYSEXIT"]),
    fault("registers", "GDT_POINTER_NOT_PACKED", 4, &["the GDT cannot be read", "(gdtr+0) lie the limit 002f, two bytes of padding", "the struct is not packed", "__attribute__((packed))"]),
    fault("registers", "TR_BY_INDEX", 1, &["stopped itself after #GP(0004) at `ltr", "that is GDT entry 5", "load TR with 0028"]),
    fault("programs", "KERNEL_DATA_IN_RING_3", 1, &["the IRET to ring 3 makes DS null", "(counts+0)", "a processor raises #GP(0)", "rule null_segment,", "findings=1 "]),
    fault("programs", "SS0_OF_RING_3", 4, &["SS0 is 0023: its RPL is not 0, and that is a segment of ring 3", "rule way_back,"]),
    fault("programs", "STACK_PAGE_STARTS", 1, &["the program was begun with ESP bffff000, where the page bffff000 begins", "let ESP begin at the end"]),
    fault("programs", "NOTHING_LOADED", 1, &["there is no code at 08048000: 15 bytes of 0", "where the program was loaded and where it is entered"]),
    fault("calls", "HALTS_IN_CALL", 1, &["halts with IF=0 in a loop that waits for 00102000 (count+0) to change", "the gate of `int 0x80` has closed interrupts", "`sti; hlt`", "rule closed_wait,", "findings=1 "]),
    fault("sysenter", "SYSEXIT_EXCHANGED", 1, &["is where the program's SYSENTER was to go back to", "got them exchanged", "load EDX with the program's EIP and ECX with its ESP"]),
    fault("gates", "GATES_CLEARED", 4, &["vector 0x20 has no gate", "it is empty"]),
    fault("x87", "X87_OF_ANOTHER", 1, &["the x87 registers are not what #", "goes on with other numbers", "`fnsave` and `frstor`", "rule fpu_kept,", "findings=1 "]),
    fault("calls", "MISALIGNED", 1, &["#GP(0000) at `movaps [esp], xmm0`", "no multiple of 16", "align it where assembly calls C"]),
    fault("results", "RESULT_POPPED_OVER", 0, &["no `int 0x80` gives anything back", "came back with its own number in EAX", "`popa` at ", "brings EAX back", "`mov [esp+28], eax` right before `popa`", "rule call_result,"]),
    fault("results", "RESULT_IN_ANOTHER_WORD", 0, &["no `int 0x80` gives anything back", "EDI comes back changed instead", "in a struct EDI comes first and EAX last"]),
    fault("uart", "OUT2_CLEAR", 0, &["IRQ 4 of the serial port has come, last in entry #", "would not on a PC: OUT2 is clear", "03 in the modem control register", "write 0x0b"]),
    fault("uart", "ENABLED_BEHIND_LATCH", 1, &["0x02 was written to port 0x3f9 while the divisor latch was open", "IRQ 4 has never come", "write 0x03 to port 0x3fb before", "rule serial_port,", "findings=1 "]),
    fault("uart", "LATCH_LEFT_OPEN", 1, &["23 bytes were written to port 0x3f8 while the divisor latch is open", "none of them was sent", "83 in the line control register", "findings=1 "]),
    fault("uart", "WRONG_STATUS_BIT", 4, &["waits for ever for bit 1 (02) to be set of port 0x3fd", "60 each time, by `in al, dx`", "bit 5 (20) set when the next byte may be sent", "rule polling,", "findings=1 "]),
    fault("uart", "WRONG_STATUS_REGISTER", 4, &["waits for ever for bit 6 (40) to be set of port 0x3fe", "that register is modem status", "line status, at offset 5", "findings=1 "]),
    fault("sysenter", "SYSENTER_ESP_STARTS", 1, &["IA32_SYSENTER_ESP is the start of a stack, not its end", "overwrites names", ", where fast_stack ends", "to MSR 175", "rule sysenter,"]),
    fault("sysenter", "TF_OVER_SYSENTER", 1, &["stopped itself after #DB", "SYSENTER leaves TF as ring 3 had it", "with TF cleared in the EFLAGS that it pops", "findings=1 "]),
    fault("shared_pages", "WRITES_WITHOUT_WP", 1, &["the kernel has written to ", "(data+0) for #1, on a page that is read-only and another task's as well", "CR0.WP is 0", "set CR0.WP (bit 16)", "rule shared_page,", "findings=1 "]),
    fault("wake_up", "WOKEN_TOO_EARLY", 1, &["halts for what has come already: ", "(done+0) holds 00000001", "#1, interrupt 0x20, came at ", "nothing comes between `sti` and `hlt`", "rule missed_wake_up,", "findings=1 "]),
    fault("gates", "STACK_INTO_GATES", 1, &["overwrite the IDT, from the gate of vector 0x", "has grown down into it", "give that stack more room", "rule stack_over_tables,"]),
    fault("interrupts", "CLOSED_BY_POPF", 4, &["halts with IF=0", "interrupts are closed where it would come", "`popf", "closed interrupts", "(sets_up+", "nothing has opened them since"]),
];

/// The rules that are broken by these kernels alone.
pub(crate) const RULES: [&str; 11] = [
    "call_gate",
    "code_limit",
    "data_segment",
    "null_segment",
    "open_switch",
    "shared_user_stack",
    "stack_in_data",
    "sysenter",
    "task_gate",
    "virtual_8086",
    "way_back",
];

/// On the deterministic clock; each costs a second.
fn run(kernel: &[u8]) -> Output {
    let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
    std::io::Write::write_all(&mut file, kernel).expect("and written");
    let path = file.path().to_str().expect("its name is text");
    esp0(&["run", path, "-q", "--timeout", "5"])
}

fn name(relative: &Relative) -> String {
    format!("{} of tests/c/{}.c", relative.name, relative.file)
}

#[test]
fn each_relative_of_a_reported_fault_is_told_with_its_cause() {
    for relative in &RELATIVES {
        let Some(kernel) = compiled(relative.name) else { return };
        let output = run(&kernel);
        for part in relative.says {
            assert!(
                output.stdout.contains(part),
                "{}: {part:?} is missing in\n{}{}",
                name(relative),
                output.stdout,
                output.stderr
            );
        }
        assert!(
            !output.stdout.contains("about the processor"),
            "{}\n{}",
            name(relative),
            output.stdout
        );
        // Where two tasks are mixed, what the kernel comes to is a matter of timing; where code is left for low memory, of what
        // lies there.
        let strays = output.stdout.contains("there is no code of the kernel's at");
        let varies = (relative.name == "PREEMPTED_SWITCH" || strays) && output.status == Some(1);
        if !varies {
            output.assert_status(relative.status);
        }
    }
}

#[test]
fn each_relative_is_clean_with_its_fault_mended() {
    for relative in &RELATIVES {
        let Some(kernel) = mended(relative.name) else { return };
        let output = run(&kernel);
        let last = output.last_line();
        // Those that show an ending only are never entered.
        let ended = output.status == Some(0) || last.starts_with("verdict: no-entries");
        assert!(
            ended && last.contains("findings=0"),
            "{}, mended:\n{}{}",
            name(relative),
            output.stdout,
            output.stderr
        );
        assert!(!output.stdout.contains("note:"), "{}, mended:\n{}", name(relative), output.stdout);
    }
}

/// Names make a report nicer; the cause is found without.
#[test]
fn a_stripped_kernel_is_told_the_same_cause() {
    for name in ["WRONG_CS", "EXCHANGED_SELECTORS", "FRAMES_EXCHANGED", "STRAYS"] {
        let relative = RELATIVES.iter().find(|one| one.name == name).expect("it is listed");
        let Some(kernel) = stripped(name) else { return };
        let output = run(&kernel);
        for part in relative.says {
            assert!(output.stdout.contains(part), "{name}: {part:?}\n{}", output.stdout);
        }
    }
}

/// Who did it is found by running again, which takes a clock that counts where interrupts have come.
#[test]
fn who_did_it_is_told_on_a_clock_that_counts() {
    let told: [(&str, &[&str]); 4] = [
        (
            "ONE_TOO_MANY",
            &[
                "it came there by `mov eax,",
                "which took 00000001 from 00102040 (all+64)",
                "00102040 was written by `mov dword ptr",
                "00106fbc before, 00000001 after",
            ],
        ),
        ("HEAP_IN_ONE_ROOT", &["was written by `mov", "(handle+", "after #3: 00000000 before"]),
        ("PAGE_GIVEN_TWICE", &["00107004 was written by `mov", "00401007 after"]),
        ("GATES_CLEARED", &["00102504 was written by `mov", "(clear+", "00000000 after"]),
    ];
    for (name, says) in told {
        let Some(kernel) = compiled(name) else { return };
        let mut file = tempfile::NamedTempFile::new().expect("a file can be made");
        std::io::Write::write_all(&mut file, &kernel).expect("and written");
        let path = file.path().to_str().expect("its name is text");
        let output = esp0(&["run", path, "-q", "--timeout", "20", "--clock", "deterministic"]);
        for part in says {
            assert!(
                output.stdout.contains(part),
                "{name}: {part:?} is missing in\n{}",
                output.stdout
            );
        }
    }
}

/// How large the elements of an array are is known from the types that a debugger is given.
#[test]
fn a_size_that_was_added_to_a_pointer_is_told_by_the_types_of_the_kernels_variables() {
    let Some(kernel) = compiled_to_debug("SIZE_MULTIPLIED") else { return };
    let output = run(&kernel);
    for part in [
        "is 4 × 2048 bytes behind the start of `kernel.stack`",
        "the stack lies in `kernel.queue`",
        "or 512, the number of elements",
        "was written by `mov",
    ] {
        assert!(output.stdout.contains(part), "{part:?} is missing in\n{}", output.stdout);
    }
    output.assert_status(4);
    let Some(kernel) = mended("SIZE_MULTIPLIED") else { return };
    let output = run(&kernel);
    assert!(output.last_line().contains("findings=0"), "mended:\n{}", output.stdout);
    output.assert_status(0);
}

/// All that `scripts/soak` runs.
mod soak {
    use super::*;

    /// Names make a report nicer; the cause is found without.
    #[test]
    #[ignore = "takes minutes: scripts/soak"]
    fn each_stripped_kernel_is_told_the_same_cause() {
        let needs_names = [
            "HALF_AN_ADDRESS",
            "STACK_NOT_MAPPED",
            "ANOTHER_ARRAY",
            "ADDRESS_OF_POINTER",
            "IN_CODE",
            "INTO_A_TABLE",
            "ABOVE_A_RECORD",
            "RETURN_OVERWRITTEN",
            "STACK_OVER_CODE",
            "BY_VALUE",
            "STUB_STOPS",
            "DIRECTORY_WITHOUT_STACK",
            "DIRECTORY_OVERWRITTEN",
            "READ_ONCE",
            "CONTEXT_SHORT",
            "CONTEXT_LONG",
            "CONTEXT_REVERSED",
            "RUNS_ON",
            "OVER_THE_GUARD",
            "TABLE_IN_A_FRAME",
            "DATA_OF_PROGRAM",
            "DIRECTORY_CLEARED",
            "EBX_NOT_SAVED",
            "THREAD_WITHOUT_RETURN",
            "ONE_TOO_MANY",
            "NULL_IN_A_LIST",
            "CODE_FOR_ADDRESS",
            "VECTOR_AS_A_BYTE",
            "ROOT_BY_ITS_LINEAR_ADDRESS",
            "HEAP_IN_ONE_ROOT",
            "GDT_POINTER_NOT_PACKED",
            "KERNEL_DATA_IN_RING_3",
            "HALTS_IN_CALL",
            "GATES_CLEARED",
            "SYSENTER_ESP_STARTS",
            "WRITES_WITHOUT_WP",
            "WOKEN_TOO_EARLY",
            "STACK_INTO_GATES",
            "CLOSED_BY_POPF",
        ];
        for relative in RELATIVES.iter().filter(|one| !needs_names.contains(&one.name)) {
            let Some(kernel) = stripped(relative.name) else { return };
            let output = run(&kernel);
            for part in relative.says {
                assert!(
                    output.stdout.contains(part),
                    "{}: {part:?}\n{}",
                    name(relative),
                    output.stdout
                );
            }
        }
    }
}

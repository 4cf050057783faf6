/* The way into ring 3, and what the way back will find. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    panic();
}
static void program(void) { ask(0, 0); }
/* The five words by hand, so that each can be wrong. */
static void enter(uint32_t data, uint32_t ss, uint32_t esp, uint32_t cs)
{
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n push %1\n push %2\n push $2\n push %3\n push %4\n iret"
                     : : "r"(data), "r"(ss), "r"(esp), "r"(cs), "r"(program) : "memory");
}

#ifdef NO_RAM_BELOW_ESP0
/* ESP0 was stored as ESP1: without paging the words go where there is no RAM, and nothing faults. */
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        task_state[3] = task_state[1], task_state[1] = 0;
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef STACK_NOT_MAPPED
/* The kernel stack's page is missing in the task's tables. */
void main(void)
{
    start(END(kernel_stack));
    map(7);
    if (BAD)
        table[(uint32_t)kernel_stack >> 12] = 0;
    paging();
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef TSS_ELSEWHERE
/* The TSS descriptor has lost the upper byte of its base. */
void main(void)
{
    set_gates();
    make_tss(END(kernel_stack));
    if (BAD)
        descriptors[5] &= ~(0xffull << 32);
    load_gdt();
    load_idt();
    load_tss();
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef EXCHANGED_SELECTORS
void main(void)
{
    start(END(kernel_stack));
    enter(USER_DATA, BAD ? USER_CODE : USER_DATA, END(user_stack[0]), BAD ? USER_DATA : USER_CODE);
}
#endif

#ifdef EXCHANGED_ESP
void main(void)
{
    start(END(kernel_stack));
    enter(USER_DATA, BAD ? END(user_stack[0]) : USER_DATA, BAD ? USER_DATA : END(user_stack[0]), USER_CODE);
}
#endif

#ifdef EXCHANGED_BEHIND_A_NO_OP
/* The same two words, and the IRET has the no-op before it that makes a stop cheap. */
void main(void)
{
    start(END(kernel_stack));
    uint32_t top = END(user_stack[0]);
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
                     "push %0\n push %1\n push $2\n push %2\n push %3\n .byte 0x66, 0x90\n iret"
                     : : "r"(BAD ? top : USER_DATA), "r"(BAD ? USER_DATA : top), "i"(USER_CODE), "r"(program) : "eax", "memory");
}
#endif

#ifdef ESP_AS_EFLAGS
/* The saved stack pointer is a word too high: the task's ESP is popped as EFLAGS, and its bit 17 is VM. */
void main(void)
{
    start(END(kernel_stack));
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
                     "push %0\n push %1\n push $2\n push %2\n push %3\n add %4, %%esp\n iret"
                     : : "i"(USER_DATA), "r"(0x134000), "i"(USER_CODE), "r"(program), "i"(BAD ? 4 : 0) : "eax", "memory");
}
#endif

#ifdef VM_IN_EFLAGS
void main(void)
{
    start(END(kernel_stack));
    leave(program, END(user_stack[0]), BAD ? 0x20002 : 2);
}
#endif

#ifdef TF_IN_EFLAGS
/* TF is set in the first frame, and #DB has no gate. */
void main(void)
{
    start(END(kernel_stack));
    gates[1] = 0;
    leave(program, END(user_stack[0]), BAD ? 0x102 : 2);
}
#endif

#ifdef HANDLER_IN_RING_3
/* The gate names ring 3's code segment, and the handler's page is the supervisor's. */
void main(void)
{
    static const uint8_t asks_once[] = {0xcd, 0x80, 0xeb, 0xfe};
    __builtin_memcpy(user_stack[0], asks_once, sizeof asks_once);
    start(END(kernel_stack));
    if (BAD)
        gates[0x80] = (gates[0x80] & ~0xffff0000ull) | USER_CODE << 16;
    map(7);
    table[(uint32_t)calls >> 12] &= ~4u;
    paging();
    leave((void (*)(void))user_stack[0], END(user_stack[0]), 2);
}
#endif

#ifdef WORD_ABOVE
/* The first frame lies a word above the saved stack pointer. */
void main(void)
{
    start(END(kernel_stack));
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
                     "push %0\n push %1\n push $2\n push %2\n push %3\n sub %4, %%esp\n iret"
                     : : "i"(USER_DATA), "r"(END(user_stack[0])), "i"(USER_CODE), "r"(program), "i"(BAD ? 4 : 0) : "eax", "memory");
}
#endif

#ifdef DESCRIPTORS_OF_RING_0
/* The selectors have RPL 3, the descriptors DPL 0. */
void main(void)
{
    if (BAD)
        descriptors[3] &= ~(3ull << 45), descriptors[4] &= ~(3ull << 45);
    start(END(kernel_stack));
    enter(BAD ? KERNEL_DATA : USER_DATA, USER_DATA, END(user_stack[0]), USER_CODE);
}
#endif

#ifdef TABLE_OF_SUPERVISOR
/* U/S is clear in the page table, not in the directory. */
void main(void)
{
    start(END(kernel_stack));
    map(BAD ? 3 : 7);
    paging();
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef NARROW_TSS
/* The descriptor's type is 1, a TSS of the 80286. */
void main(void)
{
    set_gates();
    make_tss(END(kernel_stack));
    if (BAD)
        descriptors[5] ^= 8ull << 40;
    load_gdt();
    load_idt();
    load_tss();
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef CS_WITH_EFLAGS
/* CS and EFLAGS in each other's place. */
void main(void)
{
    start(END(kernel_stack));
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n push %0\n push %1\n push %2\n push %3\n push %4\n iret"
                     : : "i"(USER_DATA), "r"(END(user_stack[0])), "r"(BAD ? USER_CODE : 2), "r"(BAD ? 2 : USER_CODE), "r"(program)
                     : "eax", "memory");
}
#endif

#ifdef THREE_WORDS
/* A frame for the same ring, and CS is another's. */
void main(void)
{
    start(END(kernel_stack));
    if (!BAD)
        leave(program, END(user_stack[0]), 2);
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n push $0x1000\n push $0x1000\n push $2\n push %0\n push %1\n iret"
                     : : "i"(USER_CODE), "r"(program) : "eax", "memory");
}
#endif

#ifdef WORD_ABOVE_IF_ALONE
/* A word above, and of EFLAGS only IF is set, as some kernels have it in a new task's frame. */
void main(void)
{
    start(END(kernel_stack));
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
                     "push %0\n push %1\n push $0x200\n push %2\n push %3\n sub %4, %%esp\n iret"
                     : : "i"(USER_DATA), "r"(END(user_stack[0])), "i"(USER_CODE), "r"(program), "i"(BAD ? 8 : 0) : "eax", "memory");
}
#endif

#ifdef BY_POINTER
/* The way to ring 3 is known to a table of functions alone, and its CS has no RPL. */
__asm__("by_words: mov $0x23, %eax\n mov %eax, %ds\n mov %eax, %es\n pop %eax\n pop %eax\n pop %ecx\n pop %edx\n"
        "push $0x23\n push %edx\n push $2\n push %eax\n push %ecx\n iret\n");
extern void by_words(uint32_t cs, void (*eip)(void), uint32_t esp);
void (*volatile ways[])(uint32_t, void (*)(void), uint32_t) = {by_words};
void main(void)
{
    start(END(kernel_stack));
    ways[0](BAD ? USER_CODE & ~3 : USER_CODE, program, END(user_stack[0]));
}
#endif

#ifdef FRAME_OF_ZEROS
/* The task's saved stack pointer leads to a frame that nobody has filled in: another one was. */
void main(void)
{
    start(END(stacks[0]));
    struct saved *own = (struct saved *)END(stacks[0]) - 1;
    struct saved *parents = make(1, program);
    if (BAD)
        own = (struct saved *)END(stacks[2]) - 1;
    else
        *own = *parents;
    resume(own);
}
#endif

#ifdef NO_BACKLINK
/* The TSS is declared without its first field. */
static uint32_t short_state[26] __attribute__((aligned(128)));
void main(void)
{
    set_gates();
    make_tss(END(kernel_stack));
    for (int word = 1; word < 26; word++)
        short_state[word - BAD] = task_state[word];
    uint32_t base = (uint32_t)short_state;
    descriptors[5] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    load_gdt();
    load_idt();
    load_tss();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

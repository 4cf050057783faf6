/* Switches between tasks. */
#include "stubs.h"

#ifdef FRAMES_EXCHANGED
/* At the fourth switch the frame is another task's than ESP0. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = s;
    now = (now + 1) % 3;
    task_state[1] = END(stacks[now]);
    return kept[BAD && count == 4 ? (now + 1) % 3 : now];
}
void main(void)
{
    start(END(stacks[0]));
    for (int task = 0; task < 3; task++)
        make(task, spin);
    tick();
    resume(kept[0]);
}
#endif

#if defined SWITCH_TO || defined OPEN_SWITCH || defined PREEMPTED_SWITCH
/* Stack pointers that are exchanged by a function, as kernels with a stack for each task do. */
static uint32_t pointers[2];
void switch_to(uint32_t *old, uint32_t new);
__asm__("switch_to: mov 4(%esp), %eax\n mov 8(%esp), %edx\n push %ebx\n push %esi\n push %edi\n push %ebp\n"
        "mov %esp, (%eax)\n mov %edx, %esp\n pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n ret\n"
        "first_time: mov %ebx, %esp\n jmp out\n");
extern uint8_t first_time[];
/* Task 1, which begins at the end of its first switch. */
static void make_second(void (*program)(void))
{
    struct saved *s = make(1, program);
    uint32_t *top = (uint32_t *)s;
    *--top = (uint32_t)first_time, *--top = (uint32_t)s, *--top = 0, *--top = 0, *--top = 0;
    pointers[1] = (uint32_t)top;
}
#endif

#ifdef SWITCH_TO
/* TSS.ESP0 is forgotten. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    int old = now;
    now ^= 1;
    if (!BAD)
        task_state[1] = END(stacks[now]);
    switch_to(&pointers[old], pointers[now]);
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    make(0, spin);
    make_second(spin);
    tick();
    resume(kept[0]);
}
#endif

#if defined OPEN_SWITCH || defined PREEMPTED_SWITCH
/* A call gives way to the other task: ESP0 is changed, then the stack pointers are exchanged. Interrupts are open between, and in
 * the second kernel the timer's handler switches tasks as well. */
static void give_way(int open)
{
    int old = now;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    if (open)
        __asm__ volatile("sti");
    for (volatile int i = 0; i < 200; i++)
        ;
    __asm__ volatile("cli");
    switch_to(&pointers[old], pointers[now]);
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20 && s->vector != 0x80)
        panic();
    if (s->vector == 0x20) {
        out(0x20, 0x20);
        if (++count == 60)
            end();
    }
#ifdef PREEMPTED_SWITCH
    give_way(BAD && s->vector == 0x80);
#else
    if (s->vector == 0x80)
        give_way(BAD);
#endif
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    make(0, asks);
    make_second(asks);
    tick();
    resume(kept[0]);
}
#endif

#ifdef ESP0_FOLLOWS
/* ESP0 is the saved stack pointer, and not the stack's end. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = s;
    now ^= 1;
    task_state[1] = BAD ? (uint32_t)kept[now] : END(stacks[now]);
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    for (int task = 0; task < 2; task++)
        make(task, spin);
    tick();
    resume(kept[0]);
}
#endif

#if defined ONE_USER_STACK || defined ONE_PAGE_FOR_STACKS
/* The second task is given the first one's user stack: by its ESP, or by the page behind an address of its own. */
enum { STACK = 0x300000 };
static uint32_t roots[2][1024] __attribute__((aligned(4096)));
static uint32_t tables[2][1024] __attribute__((aligned(4096)));
static inline void fill(uint32_t value)
{
    volatile uint32_t words[16];
    for (;;)
        for (int i = 0; i < 16; i++)
            words[i] = value;
}
static void ones(void) { fill(0x11111111); }
static void twos(void) { fill(0x22222222); }
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
#ifdef ONE_PAGE_FOR_STACKS
    __asm__ volatile("mov %0, %%cr3" : : "r"(roots[now]) : "memory");
#endif
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    make(0, ones);
    make(1, twos);
#ifdef ONE_USER_STACK
    kept[1]->esp = END(programs[BAD ? 0 : 1]);
#else
    map(7);
    for (int task = 0; task < 2; task++) {
        for (int page = 0; page < 1024; page++)
            tables[task][page] = table[page];
        tables[task][STACK >> 12] = (uint32_t)programs[BAD ? 0 : task] | 7;
        roots[task][0] = (uint32_t)tables[task] | 7;
        kept[task]->esp = STACK + 4096;
    }
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0"
                     : : "r"(roots[0]) : "eax", "memory");
#endif
    tick();
    resume(kept[0]);
}
#endif

#ifdef NEVER_LOADED
/* A far jump to a TSS before TR holds one. */
static uint32_t first_state[26] __attribute__((aligned(128)));
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    set_gates();
    make_tss(END(kernel_stack));
    uint32_t base = (uint32_t)first_state;
    descriptors[3] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    task_state[8] = (uint32_t)finish, task_state[9] = 2, task_state[14] = END(kernel_stack);
    task_state[18] = task_state[20] = task_state[21] = KERNEL_DATA, task_state[19] = KERNEL_CODE;
    load_gdt();
    load_idt();
    if (!BAD)
        __asm__ volatile("ltr %0" : : "r"((uint16_t)0x18) : "memory");
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) there = {0, TSS};
    __asm__ volatile("ljmp *%0" : : "m"(there) : "memory");
}
#endif

#ifdef CHILD_ON_PARENTS_STACK
/* A TSS for each task, and switches by far jump within a system call: the child's TSS has its parent's ESP0, as where a fork
 * counts from `current` and not from the new task's page. */
static uint32_t child_state[26] __attribute__((aligned(128)));
static uint64_t descriptors_of_both[7];
static void jump_to(uint16_t selector)
{
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) there = {0, selector};
    __asm__ volatile("ljmp *%0" : : "m"(there) : "memory");
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 12)
        end();
    now ^= 1;
    jump_to(now ? 0x30 : TSS);
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    uint32_t base = (uint32_t)child_state;
    for (int entry = 0; entry < 6; entry++)
        descriptors_of_both[entry] = descriptors[entry];
    descriptors_of_both[5] &= ~(2ull << 40);
    descriptors_of_both[6] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    child_state[1] = END(stacks[BAD ? 0 : 1]), child_state[2] = KERNEL_DATA;
    child_state[8] = (uint32_t)asks, child_state[9] = 2, child_state[14] = END(programs[1]);
    for (int segment = 18; segment < 24; segment++)
        child_state[segment] = segment == 19 ? USER_CODE : USER_DATA;
    child_state[25] = 104 << 16;
    struct pointer gdt = {sizeof descriptors_of_both - 1, (uint32_t)descriptors_of_both};
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
    load_tss();
    make(0, asks);
    resume(kept[0]);
}
#endif

#ifdef START_OF_ALLOCATED
/* A kernel stack out of a heap: TSS.ESP0 is what the allocator has given. */
static uint8_t heap[0x8000] __attribute__((aligned(4096)));
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 3)
        end();
    return s;
}
void main(void)
{
    uint32_t stack = (uint32_t)heap + 0x4000;
    for (uint32_t at = 0; at < 0x4000; at += 4)
        *(uint32_t *)(heap + at) = at << 4 | 3;
    start(BAD ? stack : stack + 0x2000);
    resume(make_at(stack + 0x2000, 0, asks));
}
#endif

#ifdef NEW_TASK_OWES_EOI
/* The EOI stands behind the switch, where a task that has never run does not come by. */
static int begun[3] = {1};
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        return s;
    if (++count == 12)
        end();
    kept[now] = s;
    now = (now + 1) % 3;
    task_state[1] = END(stacks[now]);
    if (begun[now] || !BAD)
        out(0x20, 0x20);
    begun[now] = 1;
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    make(0, spin), make(1, asks), make(2, spin);
    tick();
    resume(kept[0]);
}
#endif

#ifdef LARGER_THAN_STACKS
/* Stacks of 1 KiB, and whoever stores ESP0 takes them for stacks of 2 KiB. */
static uint8_t small_stacks[4][1024] __attribute__((aligned(1024)));
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x20) {
        out(0x20, 0x20);
        if (++count == 12)
            end();
        kept[now] = s;
        now = (now + 1) % 3;
        task_state[1] = (uint32_t)small_stacks[now] + (BAD ? 2048 : 1024);
    }
    return kept[now];
}
void main(void)
{
    start((uint32_t)small_stacks[0] + (BAD ? 2048 : 1024));
    for (int task = 0; task < 3; task++)
        make_at((uint32_t)small_stacks[task] + 1024, task, spin);
    tick();
    resume(kept[0]);
}
#endif

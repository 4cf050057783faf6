/* Exceptions that nothing answers, and ways to nowhere. */
#include "stubs.h"

#ifdef EMPTY_DIRECTORY
/* Paging goes on with an empty directory, some instructions behind LTR. */
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    start(END(kernel_stack));
    map(7);
    if (BAD)
        directory[0] = 0;
    paging();
    end();
}
#endif

#ifdef WRONG_CS
/* The gates name the boot loader's CS 10, which is the data segment now. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 256 && BAD; vector++)
        if (gates[vector])
            gates[vector] = gates[vector] & ~0xffff0000ull | 0x100000;
    ask(0, 0);
}
#endif

#ifdef TASK_GATE
/* Type 5 instead of e. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    panic();
}
void main(void)
{
    start(END(kernel_stack));
    gate(0x80, calls, BAD ? 0xe500 : FOR_USER);
    ask(0, 0);
}
#endif

#ifdef HALF_AN_ADDRESS
/* The upper half of the handler's address was never stored. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        gates[0x80] &= 0xffffffffffffull;
    ask(0, 0);
}
#endif

#ifdef NO_POINTER
/* A call by a pointer that was never set. */
static void (*volatile hook)(void);
struct saved *handle(struct saved *s)
{
    hook();
    end();
}
void main(void)
{
    start(END(kernel_stack));
    hook = BAD ? 0 : finish;
    ask(0, 0);
}
#endif

#ifdef PANIC_WITH_TICKS
/* The exceptions have trap gates: the timer goes on while the panic loops. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x20) {
        out(0x20, 0x20);
        /* Then no more, so that the end finds the guest in its loop and in no handler. */
        if (++count == 20)
            out(0x21, 0xff);
        return s;
    }
    for (;;)
        __asm__ volatile("hlt");
}
void main(void)
{
    for (int vector = 0; vector < 32; vector++)
        gate(vector, exceptions + 16 * vector, 0x8f00);
    start(END(kernel_stack));
    tick();
    __asm__ volatile("sti");
    if (BAD)
        __asm__ volatile("mov %0, %%fs" : : "r"(0x98));
    end();
}
#endif

#ifdef BREAKPOINT
/* INT3 of ring 3, and the gate has DPL 0. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 3)
        end();
    panic();
}
static void program(void) { __asm__ volatile("int3"); }
void main(void)
{
    gate(3, exceptions + 16 * 3, BAD ? FOR_KERNEL : FOR_USER);
    start(END(kernel_stack));
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef PANICS_ELSEWHERE
/* The handler changes to a stack of its own before it calls anybody. */
uint8_t second_stack[4096];
__asm__("panics: mov $second_stack + 4096, %esp\n call stopped\n 1: hlt\n jmp 1b\n");
extern uint8_t panics[];
void stopped(void) { out(0xe9, '!'); }
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    gate(13, panics, FOR_KERNEL);
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("mov %0, %%fs" : : "r"(0x98));
    end();
}
#endif

#ifdef STRAYS
/* Ring 0 returns to rubbish; the page fault's handler gives up what ran there, and the kernel goes on. */
void goes_on(void) { leave(asks, END(user_stack[0]), 2); }
struct saved *handle(struct saved *s)
{
    if (s->vector == 14)
        __asm__ volatile("mov $first_stack_end, %esp\n jmp goes_on");
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    if (BAD)
        __asm__ volatile("mov %0, %%esp\n push $0xcccccccc\n ret" : : "r"(END(kernel_stack)));
    end();
}
#endif

#ifdef JUMPS_TO_ITSELF
/* A far jump to the TSS of the task that runs. */
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("ljmp $0x28, $0");
    end();
}
#endif

#ifdef SHORT_TABLE
/* The limit of the GDT leaves out the data segment; there is no IDT yet. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    make_tss(END(kernel_stack));
    struct pointer gdt = {BAD ? 15 : sizeof descriptors - 1, (uint32_t)descriptors};
    __asm__ volatile("lgdt %0\n mov %1, %%ds" : : "m"(gdt), "r"(KERNEL_DATA) : "memory");
    start(END(kernel_stack));
    end();
}
#endif

#ifdef AFTER_STACK_SEGMENT
/* The code segment's descriptor is one of data, and the far jump to it comes right after a load of SS. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    if (BAD)
        descriptors[1] = descriptors[2];
    struct pointer gdt = {sizeof descriptors - 1, (uint32_t)descriptors};
    __asm__ volatile("lgdt %0\n mov %1, %%ss\n ljmp $8, $1f\n 1:" : : "m"(gdt), "r"(KERNEL_DATA) : "memory");
    start(END(kernel_stack));
    end();
}
#endif

#ifdef PAGING_ALONE
/* CR0 is written with PG and without PE. */
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("mov %0, %%cr0" : : "r"(0x80000000));
    end();
}
#endif

#ifdef STACK_OVER_IDT
/* A thread's stack lies above the IDT, and a call goes deeper than it reaches. */
static struct {
    uint64_t below[64], table[256];
    uint32_t stack[128];
} area;
static uint32_t deeper(uint32_t levels)
{
    volatile uint32_t kept[32];
    for (int i = 0; i < 32; i++)
        kept[i] = levels;
    return levels ? deeper(levels - 1) + kept[levels] : 0;
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20), count++;
    return s;
}
void work(void)
{
    __asm__ volatile("sti");
    while (count < 2)
        ;
    __asm__ volatile("cli");
    deeper(BAD ? 16 : 1);
    __asm__ volatile("sti");
    while (count < 4)
        ;
    end();
}
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 256; vector++)
        area.table[vector] = gates[vector];
    struct pointer idt = {sizeof area.table - 1, (uint32_t)area.table};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    tick();
    __asm__ volatile("mov %0, %%esp\n call work" : : "r"(area.stack + 128));
}
#endif

#ifdef COMES_BY_ITSELF
/* The kernel makes a frame and jumps to the handler that all exceptions have. */
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    begin(END(kernel_stack));
    if (BAD)
        __asm__ volatile("pushf\n push %cs\n push $1f\n jmp unexpected\n 1:");
    end();
}
#endif

#ifdef TABLE_NOT_MAPPED
/* LGDT with an address that the page tables do not have, as the physical one is in a kernel that is linked high. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    struct pointer gdt = {sizeof descriptors - 1, (uint32_t)descriptors + (BAD ? 0x800000 : 0)};
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n 1:" : : "m"(gdt) : "memory");
    end();
}
#endif

#ifdef NARROW_CODE
/* D is clear in the descriptor of the code: 8f in place of cf. */
struct saved *handle(struct saved *s) { end(); }
void main(void)
{
    if (BAD)
        descriptors[1] &= ~(1ull << 54);
    load_gdt();
    start(END(kernel_stack));
    end();
}
#endif

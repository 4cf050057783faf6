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

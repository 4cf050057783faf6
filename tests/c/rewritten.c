/* Kernels that write over their own code after they have loaded the IDT, or copy it. All are healthy. A probe that was
 * written over is made anew where there is a handler, and nowhere else; one that was copied is recognised. */
#include "small.h"

uint32_t count, ticks;
static void ask(void) { __asm__ volatile("int $0x80" : : : "memory"); }

/* The interrupt controller is told of the end of an interrupt, and the interrupt counted. */
#define TICK "push %eax\n mov $0x20, %al\n out %al, $0x20\n incl ticks\n pop %eax\n iret\n"

static void wait_for(uint32_t more)
{
    for (uint32_t until = *(volatile uint32_t *)&ticks + more; *(volatile uint32_t *)&ticks < until;)
        ;
}

static void program(void)
{
    for (int i = 0; i < 8; i++) {
        ask();
        wait_for(2);
    }
    __asm__ volatile("int $0x81");
}
__asm__("last: call end_it\n");
extern uint8_t last[];

#ifdef FILLED_IN
/* The first instruction of each handler is filled in when the kernel knows its processor: three no-ops become one. */
__asm__("call_gate: nop\n nop\n nop\n cld\n incl count\n pushl $0\n pushl %eax\n popl %eax\n addl $4, %esp\n iret\n"
        "timer: nop\n nop\n nop\n cld\n pushl $0\n addl $4, %esp\n " TICK);
extern uint8_t call_gate[], timer[];
void end_it(void) { end(); }
static void fill_in(uint8_t *at) { at[0] = 0x0f, at[1] = 0x1f, at[2] = 0; }
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, call_gate, FOR_USER);
    gate(0x81, last, FOR_USER);
    begin(END(kernel_stack));
    tick();
    ask();
    __asm__ volatile("sti");
    wait_for(3);
    __asm__ volatile("cli");
    fill_in(timer), fill_in(call_gate);
    __asm__ volatile("sti");
    wait_for(3);
    __asm__ volatile("cli");
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#if defined COPIED_LATER || defined EXCHANGED
/* Handlers are copied to where the gates lead, after the table has been loaded; or exchanged for others. */
static uint8_t place[2][64] __attribute__((aligned(64)));
__asm__("calls: incl count\n iret\n calls_end:\n"
        "timer: " TICK "timer_end:\n"
        "other_calls: pusha\n incl count\n popa\n iret\n other_calls_end:\n"
        "other_timer: pusha\n mov $0x20, %al\n out %al, $0x20\n incl ticks\n popa\n iret\n other_timer_end:\n");
extern uint8_t calls[], calls_end[], timer[], timer_end[], other_calls[], other_calls_end[], other_timer[],
    other_timer_end[];
void end_it(void) { end(); }
static void copy(uint8_t *to, const uint8_t *from, const uint8_t *to_here)
{
    for (volatile int i = 0; i < 64; i++)
        to[i] = 0;
    while (from < to_here)
        *to++ = *from++;
}
void main(void)
{
#ifdef EXCHANGED
    copy(place[0], other_timer, other_timer_end), copy(place[1], other_calls, other_calls_end);
#endif
    gate(0x20, place[0], FOR_KERNEL);
    gate(0x80, place[1], FOR_USER);
    gate(0x81, last, FOR_USER);
    begin(END(kernel_stack));
    tick();
#ifdef EXCHANGED
    __asm__ volatile("sti");
    wait_for(3);
    __asm__ volatile("cli");
    ask();
#endif
    copy(place[0], timer, timer_end), copy(place[1], calls, calls_end);
    __asm__ volatile("sti");
    wait_for(3);
    __asm__ volatile("cli");
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef GIVEN_AWAY
/* Handlers of gates that are of no more use lie in memory that is used for something else: it has to keep what is
 * written there. */
static uint8_t once[256] __attribute__((aligned(4096)));
__asm__("timer: " TICK "call_gate: incl count\n iret\n");
extern uint8_t timer[], call_gate[];
static void check(void)
{
    for (int i = 0; i < sizeof once; i++)
        if (once[i] != (uint8_t)(i * 7))
            out(0xf4, 1);
}
void end_it(void) { check(), end(); }
void main(void)
{
    for (int i = 0; i < 16; i++) {
        once[i * 16] = 0x90, once[i * 16 + 1] = 0x40, once[i * 16 + 2] = 0x48, once[i * 16 + 3] = 0xcf;
        gate(0x90 + i, once + i * 16, FOR_KERNEL);
    }
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, call_gate, FOR_USER);
    gate(0x81, last, FOR_USER);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("sti\n int $0x90\n int $0x91");
    wait_for(3);
    __asm__ volatile("cli");
    for (int i = 0; i < sizeof once; i++)
        once[i] = i * 7;
    __asm__ volatile("sti");
    wait_for(3);
    check();
    __asm__ volatile("cli");
    for (int i = 0; i < 16; i++)
        gates[0x90 + i] = 0;
    ask();
    check();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

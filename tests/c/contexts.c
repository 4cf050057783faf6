/* Healthy kernels that go on with other words than were pushed, as they mean to. */
#include "stubs.h"

#ifdef SWAPS_CONTEXTS
/* Two contexts of one program, in one frame: a system call exchanges ESP and what C keeps, and all calls are made at one
 * place. */
static uint32_t resting;
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (s->ebx == 0 && ++count == 12)
        end();
    uint32_t esp = s->esp;
    s->esp = resting, resting = esp;
    return s;
}
__asm__("rest: mov $0, %eax\n int $0x80\n ret\n");
void rest(void);
static void one(void)
{
    for (;;)
        __asm__ volatile("mov $1, %%ebx\n call rest" : : : "eax", "ebx", "memory");
}
static void other(void)
{
    for (;;)
        __asm__ volatile("mov $0, %%ebx\n call rest" : : : "eax", "ebx", "memory");
}
void main(void)
{
    start(END(kernel_stack));
    uint32_t *top = (uint32_t *)END(user_stack[1]);
    *--top = 0, *--top = (uint32_t)other;
    resting = (uint32_t)top;
    leave(one, END(user_stack[0]), 2);
}
#endif

#ifdef SIGNAL_AT_HANDLER
/* Signals by the timer, each with what was interrupted on the program's stack. One comes before the handler of the last one
 * has executed anything: EIP is its first instruction already, and ESP alone is another. */
extern uint8_t handler[];
__asm__("handler: jmp handler\n");
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 6)
        end();
    uint32_t *esp = (uint32_t *)s->esp;
    *--esp = s->ss, *--esp = s->esp, *--esp = s->eflags, *--esp = s->cs, *--esp = s->eip;
    s->esp = (uint32_t)esp;
    s->eip = (uint32_t)handler;
    return s;
}
static void works(void)
{
    for (;;)
        ;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    leave(works, END(user_stack[0]), 0x202);
}
#endif

#ifdef STEPS_CLOSED
/* A debugger of the kernel's own: INT3 is put back and stepped, interrupts being kept away meanwhile. */
extern uint8_t watched[];
__asm__("watched: mov %eax, %eax\n nop\n ret\n");
void watched_code(void) __asm__("watched");
static uint8_t original;
struct saved *handle(struct saved *s)
{
    if (s->vector == 3) {
        s->eip--;
        watched[0] = original;
        s->eflags = (s->eflags | 0x100) & ~0x200u;
    } else if (s->vector == 1) {
        watched[0] = 0xcc;
        s->eflags = (s->eflags & ~0x100u) | 0x200;
        count++;
    } else if (s->vector == 0x20)
        out(0x20, 0x20);
    else
        panic();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    original = watched[0];
    watched[0] = 0xcc;
    __asm__ volatile("sti");
    while (count < 6)
        watched_code();
    end();
}
#endif

#ifdef INTERRUPT_TASK
/* The timer's gate leads to a task of its own, which goes round its IRET. */
static uint32_t timer_state[26] __attribute__((aligned(128)));
static uint64_t table_of_tasks[8];
static uint8_t timer_stack[1024];
static void ticks(void)
{
    for (;;) {
        count++;
        out(0x20, 0x20);
        __asm__ volatile("iret" : : : "memory");
    }
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (count > 6)
        end();
    return s;
}
static void calls_and_computes(void)
{
    for (;;) {
        ask(0, 0);
        for (volatile uint32_t i = 0; i < 500; i++)
            ;
    }
}
void main(void)
{
    start(END(kernel_stack));
    uint32_t base = (uint32_t)timer_state;
    __builtin_memcpy(table_of_tasks, descriptors, sizeof descriptors);
    table_of_tasks[5] &= ~(2ull << 40);
    table_of_tasks[6] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    timer_state[1] = timer_state[14] = END(timer_stack), timer_state[2] = KERNEL_DATA;
    timer_state[8] = (uint32_t)ticks, timer_state[9] = 2;
    timer_state[18] = timer_state[20] = timer_state[21] = KERNEL_DATA, timer_state[19] = KERNEL_CODE;
    timer_state[22] = timer_state[23] = KERNEL_DATA, timer_state[25] = 104 << 16;
    struct pointer gdt = {sizeof table_of_tasks - 1, (uint32_t)table_of_tasks};
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
    load_tss();
    gates[0x20] = 0x0000850000300000ull;
    tick();
    leave(calls_and_computes, END(user_stack[0]), 0x202);
}
#endif

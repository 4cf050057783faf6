/* The time-stamp counter, read by a program and by the kernel. Run by tests/kvm/repeating.rs. */
#include "small.h"

__asm__("timer: pusha\n cld\n call ticked\n popa\n iret\n");
extern uint8_t timer[];
static volatile uint32_t ticks;
void ticked(void)
{
    ticks++;
    out(0x20, 0x20);
}

#ifdef TIME_STAMP_OPEN
/* With interrupts open. */
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("sti\n nop\n rdtsc\n 1: cmpl $3, ticks\n jb 1b\n cli" : : : "eax", "edx");
    end();
}
#endif

#ifdef TIME_STAMP_CLOSED
/* With interrupts closed, where nothing is stepped. */
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("rdtsc" : : : "eax", "edx");
    while (ticks < 3)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
    end();
}
#endif

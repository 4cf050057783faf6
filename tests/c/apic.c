/* Timers that cannot tick: of the local APIC, of the 8254, by the I/O APIC. The kernel waits for three ticks. */
#include "stubs.h"

static volatile uint32_t *const apic = (volatile uint32_t *)0xfee00000;
static inline void set(uint32_t offset, uint32_t value) { apic[offset / 4] = value; }

struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
#if defined COUNTS_ONCE || defined CLOSED_BY_ONES
    out(0x20, 0x20);
#elif defined APIC_NOT_ENDED
    if (BAD)
        out(0x20, 0x20);
    else
        set(0xb0, 0);
#else
    set(0xb0, 0);
#endif
    if (++count == 3)
        end();
    return s;
}

void main(void)
{
    start(END(kernel_stack));
    tick();
#ifdef COUNTS_ONCE
    /* Mode 0 in place of mode 2. */
    out(0x43, BAD ? 0x30 : 0x34), out(0x40, 0), out(0x40, 0x10);
#elif defined CLOSED_BY_ONES
    set(0xf0, 0x1ff);
    out(0x21, BAD ? 1 : 0xfe);
#elif defined ANOTHER_PIN
    volatile uint32_t *const io = (volatile uint32_t *)0xfec00000;
    out(0x21, 0xff);
    set(0xf0, 0x1ff);
    io[0] = BAD ? 0x10 : 0x14, io[4] = 0x20;
#else
    out(0x21, 0xff);
#ifdef APIC_DISABLED
    set(0xf0, BAD ? 0xff : 0x1ff);
#else
    set(0xf0, 0x1ff);
#endif
    set(0x3e0, 0xb);
#ifdef APIC_COUNTS_ONCE
    set(0x320, (BAD ? 0 : 0x20000) | 0x20);
#else
    set(0x320, 0x20020);
#endif
    set(0x380, 100000);
#endif
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}

#ifdef APIC_NOT_ENDED
/* The EOI goes to the 8259. */
#endif
#ifdef APIC_DISABLED
/* Bit 8 of the spurious-interrupt vector register is left out. */
#endif
#ifdef CLOSED_BY_ONES
/* The mask is written as if its ones opened lines. */
#endif
#ifdef ANOTHER_PIN
/* The I/O APIC has the timer at pin 2, and pin 0 is opened. */
#endif
#ifdef COUNTS_ONCE
/* The 8254 counts in mode 0. */
#endif

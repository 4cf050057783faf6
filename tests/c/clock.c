/* The real-time clock, whose interrupt comes through the slave 8259, and again only when its register C has been read.
 * The timer goes on, and a program with system calls. */
#include "stubs.h"

__asm__("clock: push $0\n push $0x28\n jmp common\n cascade: push $0\n push $0x22\n jmp common\n");
extern uint8_t clock[], cascade[];

static uint8_t cmos(uint8_t index)
{
    out(0x70, index);
    return in(0x71);
}

struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        return s;
    if (s->vector == 0x28) {
#ifdef ALL_LINES_OPEN
        /* Nobody has expected it. */
        if (BAD)
            panic();
#endif
#ifdef CLOCK_NOT_READ
        if (!BAD)
#endif
            cmos(0xc);
#ifdef EOI_MISSES_SLAVE
        if (!BAD)
#endif
            out(0xa0, 0x20);
        if (++count == 4)
            end();
    } else if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    return s;
}

void main(void)
{
    gate(0x22, cascade, FOR_KERNEL);
    gate(0x28, clock, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
#ifdef MASTER_ALONE
    /* ICW1 says that there is no slave, and no ICW3 follows. */
    if (BAD)
        out(0x20, 0x13), out(0x21, 0x20), out(0x21, 1);
#endif
#ifdef CASCADE_MASKED
    out(0x21, BAD ? 0xfe : 0xfa), out(0xa1, 0xfe);
#elif defined ALL_LINES_OPEN
    out(0x21, 0), out(0xa1, 0);
#else
    out(0x21, 0xfa), out(0xa1, 0xfe);
#endif
    uint8_t modes = cmos(0xb);
    out(0x70, 0xb), out(0x71, modes | 0x40);
    cmos(0xc);
    leave(asks, END(user_stack[0]), 0x202);
}

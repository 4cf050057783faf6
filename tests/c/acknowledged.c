/* The timer's interrupt is ended in the wrong place, and the program goes on with system calls: nobody misses the ticks. */
#include "stubs.h"

#ifdef EOI_MISSES_MASTER
/* The real-time clock's interrupt, which comes through the slave, is ended there only. */
__asm__("clock: push $0\n push $0x28\n jmp common\n");
extern uint8_t clock[];

static uint8_t cmos(uint8_t index)
{
    out(0x70, index);
    return in(0x71);
}
#endif

struct saved *handle(struct saved *s)
{
    if (s->vector < 32)
        panic();
#ifdef EOI_MISSES_MASTER
    if (s->vector == 0x28) {
        cmos(0xc);
        out(0xa0, 0x20);
        if (!BAD)
            out(0x20, 0x20);
        if (++count == 4)
            end();
    }
#endif
    if (s->vector == 0x20) {
#ifdef EOI_TO_SLAVE
        out(BAD ? 0xa0 : 0x20, 0x20);
#endif
#ifdef EOI_OF_ANOTHER
        out(0x20, BAD ? 0x61 : 0x60);
#endif
#ifdef EOI_INTO_MASK
        out(BAD ? 0x21 : 0x20, 0x20);
#endif
#ifdef MASKED_FOR_GOOD
        out(0x21, 0xff);
        out(0x20, 0x20);
        if (!BAD)
            out(0x21, 0xfe);
#endif
        if (++count == 4)
            end();
    }
    return s;
}

void main(void)
{
    start(END(kernel_stack));
    tick();
#ifdef EOI_MISSES_MASTER
    gate(0x28, clock, FOR_KERNEL);
    out(0x21, 0xfb), out(0xa1, 0xfe);
    uint8_t modes = cmos(0xb);
    out(0x70, 0xb), out(0x71, modes | 0x40);
    cmos(0xc);
#endif
    leave(asks, END(user_stack[0]), 0x202);
}

/* The timer's interrupt is ended in the wrong place, and the program goes on with system calls: nobody misses the ticks. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector < 32)
        panic();
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
        if (++count == 4)
            end();
    }
    return s;
}

void main(void)
{
    start(END(kernel_stack));
    tick();
    leave(asks, END(user_stack[0]), 0x202);
}

/* Stubs of assembly that do not fit what they belong to. */
#include "stubs.h"

#ifdef NARROW_POP
/* All registers are pushed with words of four bytes and popped with words of two. */
static uint32_t calls_seen;
#if BAD
#define POP "popaw"
#else
#define POP "popal"
#endif
__asm__("narrow: pushal\n call seen\n " POP "\n iret\n");
extern uint8_t narrow[];
void seen(void)
{
    if (++calls_seen == 3)
        end();
}
struct saved *handle(struct saved *s)
{
    panic();
    return s;
}
static void calls_on(void)
{
    for (;;)
        __asm__ volatile("int $0x80" : : "d"(0), "b"(0x1234));
}
void main(void)
{
    gate(0x80, narrow, FOR_USER);
    start(END(kernel_stack));
    leave(calls_on, END(user_stack[0]), 2);
}
#endif

/* Stacks that are arrays of words: what their types tell is in the DWARF of a kernel that is built for a debugger. */
#include "small.h"

#ifdef SIZE_MULTIPLIED
/* The stack's size in bytes is added to a pointer to its words. */
static struct {
    uint32_t next;
    uint32_t stack[512];
    uint32_t queue[4096];
} kernel;
static void enqueue(uint32_t what)
{
    for (uint32_t i = 0; i < 200; i++)
        kernel.queue[kernel.next++] = what;
}
__asm__("queues: pusha\n call queued\n popa\n iret\n");
extern uint8_t queues[];
static uint32_t queued_calls;
void queued(void)
{
    enqueue(0xdead0000);
    if (++queued_calls == 16)
        end();
}
static void calls(void)
{
    for (;;)
        ask(0, 0);
}
void main(void)
{
    gate(0x80, queues, FOR_USER);
    begin(BAD ? (uint32_t)(kernel.stack + sizeof kernel.stack) : (uint32_t)kernel.stack + sizeof kernel.stack);
    leave(calls, END(user_stack[0]), 2);
}
#endif

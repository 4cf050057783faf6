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

#ifdef ARGUMENT_IN_EAX
/* The stub pushes the driver's record, and the function takes its argument from EAX. */
struct driver {
    uint32_t line;
    void (*run)(void);
};
#if BAD
#define BY __attribute__((regparm(3)))
#else
#define BY
#endif
static void tocks(void)
{
    out(0x20, 0x20);
    if (++count == 4)
        end();
}
struct driver clock_driver = {0, tocks};
__asm__("line: pusha\n cld\n push $clock_driver\n call drive\n add $4, %esp\n popa\n iret\n");
extern uint8_t line[];
BY void drive(struct driver *driver) { driver->run(); }
struct saved *handle(struct saved *s)
{
    panic();
    return s;
}
static void far_off(void) { __asm__ volatile("mov $0x40000000, %eax\n 1: jmp 1b"); }
void main(void)
{
    gate(0x20, line, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    leave(far_off, END(user_stack[0]), 0x202);
}
#endif

/* Handlers that run into what they have interrupted, or into themselves. */
#include "stubs.h"

#ifdef LOCK_IN_HANDLER
/* The timer's handler takes the lock that the code holds which it has interrupted. */
static volatile uint32_t taken, lines[2];
static void __attribute__((noinline)) lock(void)
{
    __asm__ volatile("1: lock btsl $0, %0\n jc 1b" : "+m"(taken) : : "cc", "memory");
}
static void __attribute__((noinline)) unlock(void) { taken = 0; }
static void __attribute__((noinline)) write_line(int who)
{
    lock();
    for (int i = 0; i < 2000; i++)
        lines[who]++;
    unlock();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    count++;
    write_line(1);
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    while (count < 8) {
        if (!BAD)
            __asm__ volatile("cli");
        else
            __asm__ volatile("sti");
        write_line(0);
        __asm__ volatile("sti\n nop\n nop");
    }
    end();
}
#endif

#ifdef FAULTS_IN_HANDLER
/* The handler of page faults counts them where no page is. */
static volatile uint32_t here;
struct saved *handle(struct saved *s)
{
    if (s->vector != 14)
        panic();
    volatile uint32_t *faults = BAD ? (volatile uint32_t *)0x50000000 : &here;
    if (++*faults == 1)
        end();
    panic();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    __asm__ volatile("movl $1, 0x40000000");
}
#endif

#ifdef IRQ_STACK_ANEW
/* Each interrupt begins at the end of one stack for all of them, those that come while a handler is on it as well. */
uint8_t irq_stack[2048] __attribute__((aligned(64)));
uint32_t depth;
#if BAD
#define CHANGE "mov $irq_stack + 2048, %esp\n"
#else
#define CHANGE "cmpl $0, depth\n jne 1f\n mov $irq_stack + 2048, %esp\n 1:"
#endif
__asm__("anew: pusha\n mov %esp, %edi\n" CHANGE " push %edi\n incl depth\n call busy\n decl depth\n pop %esp\n popa\n iret\n");
extern uint8_t anew[];
static void __attribute__((noinline)) deep(void)
{
    volatile uint32_t words[64];
    for (int i = 0; i < 64; i++)
        words[i] = 0x1111;
}
void busy(void)
{
    out(0x20, 0x20);
    uint32_t was = ++count;
    if (was == 3) {
        __asm__ volatile("sti");
        while (count == was)
            ;
        __asm__ volatile("cli");
    } else {
        deep();
    }
}
struct saved *handle(struct saved *s)
{
    panic();
    return s;
}
void main(void)
{
    gate(0x20, anew, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    __asm__ volatile("sti");
    while (count < 6)
        ;
    __asm__ volatile("cli");
    end();
}
#endif

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

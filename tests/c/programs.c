/* The first program: what it has of segments, stack and code. */
#include "stubs.h"

#ifdef KERNEL_DATA_IN_RING_3
/* DS is the kernel's still when the first program is begun. */
static volatile uint32_t counter;
static void counts(void)
{
    for (;;)
        counter++;
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 5)
        end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    if (!BAD)
        leave(counts, END(user_stack[0]), 0x202);
    __asm__ volatile("push %0\n push %1\n push $0x202\n push %2\n push %3\n iret"
                     : : "i"(USER_DATA), "r"(END(user_stack[0])), "i"(USER_CODE), "r"(counts) : "memory");
}
#endif

#ifdef SS0_OF_RING_3
/* SS0 is the programs' data segment. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        task_state[2] = USER_DATA;
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

#if defined STACK_PAGE_STARTS || defined NOTHING_LOADED
static uint32_t high[1024] __attribute__((aligned(4096)));
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 5)
        end();
    return s;
}
#endif

#ifdef STACK_PAGE_STARTS
/* A program's ESP is the start of the page that was mapped for its stack. */
void main(void)
{
    start(END(kernel_stack));
    map(7);
    directory[767] = (uint32_t)high | 7;
    high[1023] = (uint32_t)user_stack[0] | 7;
    paging();
    leave(asks, BAD ? 0xbffff000 : 0xc0000000, 0x202);
}
#endif

#ifdef NOTHING_LOADED
/* A program lies a page above the place at which it is entered. */
static const uint8_t image[] = {0xb8, 1, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7};
enum { PROGRAM = 0x08048000 };
void main(void)
{
    start(END(kernel_stack));
    map(3);
    for (uint32_t page = 0; page < 1024; page++)
        high[page] = (0x200000 + (page << 12)) | 7;
    directory[PROGRAM >> 22] = (uint32_t)high | 7;
    paging();
    uint8_t *to = (uint8_t *)PROGRAM + (BAD ? 0x1000 : 0);
    for (uint32_t byte = 0; byte < sizeof image; byte++)
        to[byte] = image[byte];
    leave((void (*)(void))PROGRAM, PROGRAM + 0x10000, 0x202);
}
#endif

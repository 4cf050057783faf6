/* A stack that runs past its end, where no other stack lies. */
#include "stubs.h"

#ifdef INTO_A_TABLE
/* One task; below its kernel stack lies a table. The compiler places variables in the reverse order. */
static uint8_t own_stack[2048] __attribute__((aligned(1024)));
static volatile uint32_t names[256] __attribute__((aligned(1024)));
static uint32_t __attribute__((noinline)) deeper(uint32_t n)
{
    volatile uint32_t locals[8] = {n, n, n, n, n, n, n, n};
    return n ? deeper(n - 1) + locals[n & 7] : 0;
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 4)
        end();
    deeper(BAD ? 35 : 10);
    return s;
}
void main(void)
{
    for (int i = 0; i < 256; i++)
        names[i] = i * 0x1001;
    start(END(own_stack));
    leave(asks, END(user_stack[0]), 2);
}
#endif

#ifdef NESTS
/* The handler of the timer writes its EOI, opens interrupts, and takes longer than a tick. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 40)
        out(0xf4, BAD);
    if (BAD) {
        __asm__ volatile("sti");
        for (volatile uint32_t i = 0; i < 1000000; i++)
            ;
    }
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    leave(spin, END(user_stack[0]), 0x202);
}
#endif

#ifdef OVER_THE_GUARD
/* A stack of one page between pages that are not mapped, and locals of two. */
static struct {
    uint8_t guard[4096], stack[4096];
} guarded[3] __attribute__((aligned(4096)));
static void __attribute__((noinline)) lists(uint32_t bytes)
{
    volatile uint8_t names[BAD ? 8192 : 1024];
    for (uint32_t i = 0; i < bytes; i++)
        names[i] = '.';
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 6)
        end();
    kept[now] = s;
    now ^= 1;
    if (now == 0)
        lists(1000);
    task_state[1] = END(guarded[now + 1].stack);
    return kept[now];
}
void main(void)
{
    start(END(guarded[1].stack));
    map(7);
    for (int stack = 0; stack < 3; stack++)
        table[(uint32_t)guarded[stack].guard >> 12] = 0;
    paging();
    for (int task = 0; task < 2; task++)
        make_at(END(guarded[task + 1].stack), task, asks);
    resume(kept[0]);
}
#endif

#ifdef NAME_TOO_LONG
/* A task's name runs into its saved stack pointer. */
static struct {
    char name[8];
    struct saved *saved;
} tasks[2];
static void rename(char *to, const char *name)
{
    while (*name)
        *to++ = *name++;
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 8)
        end();
    if (count == 3)
        rename(tasks[now ^ 1].name, BAD ? "shepherd, at work" : "shepherd");
    tasks[now].saved = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return tasks[now].saved;
}
void main(void)
{
    start(END(stacks[0]));
    for (int task = 0; task < 2; task++)
        tasks[task].saved = make(task, spin);
    tick();
    resume(tasks[0].saved);
}
#endif

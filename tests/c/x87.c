/* Programs that compute with the x87, and are interrupted in the middle. */
#include "stubs.h"

static uint8_t images[2][108] __attribute__((aligned(16)));
static inline void save(int task) { __asm__ volatile("fnsave %0" : "=m"(images[task])); }
static inline void restore(int task) { __asm__ volatile("frstor %0" : : "m"(images[task])); }
static inline void set_ts(void) { __asm__ volatile("mov %%cr0, %%eax\n or $8, %%eax\n mov %%eax, %%cr0" : : : "eax"); }

static struct saved *next(struct saved *s, int tasks)
{
    out(0x20, 0x20);
    if (++count == 200)
        end();
    kept[now] = s;
    now = (now + 1) % tasks;
    task_state[1] = END(stacks[now]);
    return kept[now];
}

/* What is loaded has to come back. */
static void computes(uint32_t number)
{
    for (;;) {
        uint32_t back;
        __asm__ volatile("fildl %1\n mov $60, %%ecx\n 1: loop 1b\n fistpl %0" : "=m"(back) : "m"(number) : "ecx", "memory");
        if (back != number)
            ask(1, back);
    }
}
static void ones(void) { computes(1111); }
static void twos(void) { computes(2222); }

#ifdef X87_OF_ANOTHER
/* Nobody saves it. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    if (s->vector != 0x20)
        panic();
    if (BAD)
        return next(s, 2);
    save(now);
    s = next(s, 2);
    restore(now);
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    make(0, ones);
    make(1, twos);
    __asm__ volatile("fninit");
    save(1);
    tick();
    resume(kept[0]);
}
#endif

#ifdef X87_ON_DEMAND
/* Saved and restored at the first use behind a switch. */
static int owner = -1;
static uint8_t used[3];
struct saved *handle(struct saved *s)
{
    if (s->vector == 7) {
        __asm__ volatile("clts");
        if (owner == now)
            return s;
        if (owner >= 0)
            save(owner);
        owner = now;
        if (used[now])
            restore(now);
        else
            __asm__ volatile("fninit");
        used[now] = 1;
        return s;
    }
    if (s->vector != 0x20)
        panic();
    s = next(s, 3);
    set_ts();
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    make(0, ones);
    make(1, twos);
    make(2, spin);
    set_ts();
    tick();
    resume(kept[0]);
}
#endif

#ifdef X87_OF_ONE
/* Nobody saves it, and one task alone uses it. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    return next(s, 2);
}
void main(void)
{
    start(END(stacks[0]));
    make(0, ones);
    make(1, spin);
    __asm__ volatile("fninit");
    tick();
    resume(kept[0]);
}
#endif

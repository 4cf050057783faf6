/* ESP0 that is stored where the processor does not look. */
#include "stubs.h"

#ifdef TSS_COPIED
/* The scheduler has a TSS of its own, made like the one in TR. */
static volatile uint32_t state_of_scheduler[26] __attribute__((aligned(128)));
static void on_stack(uint32_t esp0) { (BAD ? state_of_scheduler : (volatile uint32_t *)task_state)[1] = esp0; }
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 9)
        end();
    kept[now] = s;
    now = (now + 1) % 3;
    on_stack(END(stacks[now]));
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    for (int i = 0; i < 26; i++)
        state_of_scheduler[i] = task_state[i];
    for (int task = 0; task < 3; task++)
        make(task, spin);
    tick();
    resume(kept[0]);
}
#endif

#ifdef TSS_OF_EACH
/* A TSS for each task, and one descriptor, which is made anew at each switch. All were made with the first task's stack. */
static uint32_t state_of[2][26] __attribute__((aligned(128)));
static void run_by(int task)
{
    uint32_t base = (uint32_t)state_of[task];
    descriptors[5] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    load_tss();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 8)
        end();
    kept[now] = s;
    run_by(now ^= 1);
    return kept[now];
}
void main(void)
{
    start(0);
    for (int task = 0; task < 2; task++) {
        make(task, spin);
        state_of[task][1] = END(stacks[BAD ? 0 : task]);
        state_of[task][2] = KERNEL_DATA;
        state_of[task][25] = 104 << 16;
    }
    run_by(0);
    tick();
    resume(kept[0]);
}
#endif

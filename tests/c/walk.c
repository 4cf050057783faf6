/* A kernel to be debugged: two tasks take turns, and one line is missing for one of them. */
#include "small.h"

#ifdef FORGETS
static uint8_t stacks[2][2048] __attribute__((aligned(16)));
static uint32_t kept[2], count;
static int now;

uint32_t switch_task(uint32_t esp)
{
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = esp;
    now ^= 1;
    if (now == 1)
        task_state[1] = END(stacks[1]);
    return kept[now];
}
__asm__("timer: pusha\n push %esp\n call switch_task\n mov %eax, %esp\n popa\n iret\n");
extern uint8_t timer[];

static void first(void)
{
    for (volatile uint32_t i = 0;; i++)
        ;
}

static void second(void)
{
    for (volatile uint32_t i = 0;; i++)
        ;
}

static void make(int task, void (*program)(void))
{
    uint32_t *frame = (uint32_t *)END(stacks[task]);
    *--frame = USER_DATA, *--frame = END(user_stack[task]), *--frame = 0x202, *--frame = USER_CODE;
    *--frame = (uint32_t)program;
    kept[task] = (uint32_t)(frame - 8);
}

void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    make(0, first);
    make(1, second);
    begin(END(stacks[0]));
    tick();
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %1, %%esp\n popa\n iret" : : "r"(USER_DATA), "r"(kept[0]) : "memory");
}
#endif

#ifdef LIVES_ABOVE
/* Its memory is mapped at c0000000 too, and it counts there; whoever watches the count there from its first instruction on
 * names an address that is no RAM yet. */
static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t others[1024] __attribute__((aligned(4096)));
volatile uint32_t count __attribute__((aligned(4096)));

void main(void)
{
    directory[0] = directory[0x300] = 0x83; /* 4 MiB, present, writable */
    __asm__ volatile("mov %0, %%cr3\n mov %%cr4, %%eax\n or $0x10, %%eax\n mov %%eax, %%cr4\n mov %%cr0, %%eax\n"
                     "or $0x80000000, %%eax\n mov %%eax, %%cr0" : : "r"(directory) : "eax", "memory");
    /* So long that nobody wants to step it. */
    for (uint32_t i = 0; i < 2000000; i++)
        *(volatile uint32_t *)&others[i & 1023] = i;
    ++*(volatile uint32_t *)((uint32_t)&count + 0xc0000000);
    end();
}
#endif

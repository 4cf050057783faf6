/* Entries by task gates: each has a TSS of its own, which says where the task begins and on which stack; the error code is
 * pushed there, and an IRET goes back by the link. */
#include "stubs.h"

static uint64_t wider[8];
static uint32_t double_fault[26] __attribute__((aligned(128))), interrupt[26] __attribute__((aligned(128)));
static uint8_t own[2][1024] __attribute__((aligned(16)));
volatile uint32_t visits, ticks;

/* A double fault: the gate of #GP is empty. Its task has the old one go on behind the instruction. */
__asm__("doubles: push %fs\n mov $0x98, %eax\n mov %eax, %fs\n behind: pop %fs\n ret\n");
void doubles(void);
#if defined ERROR_CODE_LEFT && BAD
#define TAKE_OFF
#else
#define TAKE_OFF "add $4, %esp\n"
#endif
__asm__("doubled: incl visits\n movl $behind, task_state + 32\n " TAKE_OFF " iret\n jmp doubled\n");
__asm__("ticked: incl ticks\n mov $0x20, %al\n out %al, $0x20\n iret\n jmp ticked\n");
extern uint8_t doubled[], ticked[];

static inline void task(int vector, int entry, uint32_t *tss, const void *code, uint32_t esp)
{
    uint32_t base = (uint32_t)tss;
    wider[entry] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    tss[8] = (uint32_t)code, tss[9] = 2, tss[14] = esp, tss[19] = KERNEL_CODE;
    tss[18] = tss[20] = tss[21] = tss[22] = tss[23] = KERNEL_DATA;
    tss[25] = 104 << 16;
    /* The page of a stack that was never used loses error codes on some models. */
    ((volatile uint8_t *)esp)[-1] = 0;
    gates[vector] = 0x0000850000000000ull | (uint64_t)entry << 19;
}

static inline void add_tasks(uint32_t esp)
{
    struct pointer gdt = {sizeof wider - 1, (uint32_t)wider};
    start(END(stacks[0]));
    for (int i = 0; i < 6; i++)
        wider[i] = descriptors[i];
    task(8, 6, double_fault, doubled, esp);
    task(0x20, 7, interrupt, ticked, END(own[1]));
    gates[13] = 0;
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
    /* Whoever watches has seen them. */
    out(0x80, 0);
}

#ifdef TASK_GATES
/* A healthy one. #DF and the timer come by task gates, from ring 3 and from ring 0. */
static void program(void)
{
    for (uint32_t seen = 0;;) {
        while (ticks == seen)
            ;
        seen = ticks;
        ask(0, 0);
    }
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    doubles();
    if (++count == 3) {
        out(0xe9, visits == 3 && ticks >= 3 ? 't' : '!');
        end();
    }
    return s;
}
void main(void)
{
    add_tasks(END(own[0]));
    tick();
    resume(make(0, program));
}
#endif

#ifdef GATE_ON_USED_STACK
/* The task of #DF has the stack that ESP0 names. */
static void program(void)
{
    for (;;)
        ask(0, 0);
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    doubles();
    end();
    return s;
}
void main(void)
{
    add_tasks(BAD ? END(stacks[0]) : END(own[0]));
    resume(make(0, program));
}
#endif

#ifdef ERROR_CODE_LEFT
/* The task of #DF leaves the error code on its stack, and begins lower the next time. */
struct saved *handle(struct saved *s) { return s; }
void main(void)
{
    add_tasks(END(own[0]));
    doubles();
    doubles();
    end();
}
#endif

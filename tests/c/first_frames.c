/* The first frame of a task, and what takes it apart: a switch between stacks by a function of assembly. A call comes
 * first: the way from there is a short one. */
#include "stubs.h"

#ifndef FLAGS_POPPED_FIRST
/* Pops three registers. */
__asm__("exchange: mov 4(%esp), %eax\n mov 8(%esp), %ecx\n push %ebp\n push %esi\n push %ebx\n mov %esp, (%eax)\n"
        "mov (%ecx), %esp\n pop %ebx\n pop %esi\n pop %ebp\n ret\n.type exchange, @function\n");
#else
/* EFLAGS are pushed first, and popped first. */
__asm__("exchange: mov 4(%esp), %eax\n mov 8(%esp), %ecx\n pushf\n push %ebp\n push %esi\n push %ebx\n mov %esp, (%eax)\n"
        "mov (%ecx), %esp\n"
#ifdef MENDED
        "pop %ebx\n pop %esi\n pop %ebp\n popf\n"
#else
        "popf\n pop %ebx\n pop %esi\n pop %ebp\n"
#endif
        "ret\n.type exchange, @function\n");
#endif
void exchange(uint32_t *old, uint32_t *new);
static uint32_t pointers[2];

static void give_way(void)
{
    int old = now;
    now ^= 1;
    exchange(&pointers[old], &pointers[now]);
}

#if defined CONTEXT_SHORT || defined CONTEXT_LONG || defined CONTEXT_REVERSED || defined FLAGS_POPPED_FIRST
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        return s;
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    count++;
    return s;
}
static void __attribute__((noinline)) worker(void)
{
#ifdef FLAGS_POPPED_FIRST
    tick();
    while (!count)
        ;
#endif
    for (int turn = 0; turn < 3; turn++)
        give_way();
    end();
}
void main(void)
{
    start(END(kernel_stack));
    ask(0, 0);
    uint32_t *top = (uint32_t *)END(stacks[1]);
    *--top = 0x1badbad;
#if defined CONTEXT_REVERSED && !defined MENDED
    *--top = 0, *--top = 0, *--top = 0, *--top = (uint32_t)worker;
#else
    *--top = (uint32_t)worker;
#ifdef FLAGS_POPPED_FIRST
    *--top = 0x202;
#endif
#ifdef CONTEXT_LONG
    *--top = 0;
    if (!BAD)
        top++;
#endif
    *--top = 0, *--top = 0;
#ifdef CONTEXT_SHORT
    if (!BAD)
#endif
        *--top = 0;
#endif
    pointers[1] = (uint32_t)top;
#ifdef FLAGS_POPPED_FIRST
    __asm__ volatile("sti");
#endif
    for (;;)
        give_way();
}
#endif

#if defined NO_WAY_OUT || defined FRAME_ELSEWHERE
/* Tasks of ring 3, each begun by a RET of the switch: in a function that releases a lock, and then on the way out. */
__asm__("way_out: jmp out\n released: movl $0, locked\n ret\n.type released, @function\n");
extern uint8_t way_out[], released[];
int locked;

static void begin_task(int task, uint32_t end, void (*program)(void))
{
    uint32_t *top = (uint32_t *)make_at(end, task, program);
#ifdef NO_WAY_OUT
    if (!BAD)
#endif
        *--top = (uint32_t)way_out;
    *--top = (uint32_t)released, *--top = 0, *--top = 0, *--top = 0;
    pointers[task] = (uint32_t)top;
}
#endif

#ifdef NO_WAY_OUT
/* Above the function's address lies the frame: its first word is where the function returns to. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 4)
        end();
    return s;
}
void main(void)
{
    start(END(stacks[1]));
    ask(0, 0);
    begin_task(1, END(stacks[1]), asks);
    give_way();
}
#endif

#ifdef FRAME_ELSEWHERE
/* The first frame of task 1 is laid out in the stack of task 0, which uses that part of it afterwards. */
static void __attribute__((noinline)) answer(void)
{
    volatile uint32_t text[500];
    for (int i = 0; i < 500; i++)
        text[i] = 0x400000;
    task_state[1] = END(stacks[!now]);
    give_way();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (count++ == 0)
        begin_task(1, BAD ? END(stacks[0]) - 1024 : END(stacks[1]), asks);
    if (count == 8)
        end();
    answer();
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    make(0, asks);
    resume(kept[0]);
}
#endif

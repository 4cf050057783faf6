/* Where ESP0 points to, and how far a stack reaches. */
#include "small.h"

uint32_t count;
__asm__("calls: pusha\n call handle\n popa\n iret\n");
extern uint8_t calls[];
static void program(void)
{
    for (;;)
        ask(0, 0);
}

#ifdef START_OF_ARRAY
/* ESP0 is the address of the array, which is its start: a table lies before it. */
static struct {
    uint32_t table[32];
    uint8_t stack[4096];
} area __attribute__((aligned(16)));
void handle(void) { end(); }
void main(void)
{
    for (int i = 0; i < 32; i++)
        area.table[i] = 0x1000 + i;
    gate(0x80, calls, FOR_USER);
    begin((uint32_t)area.stack);
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef START_PLUS_FOUR
/* Somebody took care of the last word: 4,092 bytes too low. */
static uint32_t names[8] = {1, 2, 3, 4, 5, 6, 7, 8};
static struct {
    uint32_t names[8];
    uint8_t stack[4096];
} area;
void handle(void) { end(); }
void main(void)
{
    for (int i = 0; i < 8; i++)
        area.names[i] = names[i] << 8;
    gate(0x80, calls, FOR_USER);
    begin((uint32_t)area.stack + 4);
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef USER_END
/* ESP0 is the end of the user stack. */
void handle(void) { end(); }
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(user_stack[0]));
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef OVER_TSS
/* ESP0 is the end of the TSS, where somebody meant to have a stack begin. */
void handle(void) { end(); }
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(task_state));
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef LOWER
/* Healthy, if odd: ESP0 is always sixteen bytes below the end of the stack, and the first frame lies at the end. */
void handle(void)
{
    if (++count == 4)
        end();
}
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack) - 16);
    uint32_t *frame = (uint32_t *)END(kernel_stack);
    *--frame = USER_DATA, *--frame = END(user_stack[0]), *--frame = 2, *--frame = USER_CODE, *--frame = (uint32_t)program;
    __asm__ volatile("mov %1, %%ds\n mov %1, %%es\n mov %0, %%esp\n iret" : : "r"(frame), "r"(USER_DATA) : "memory");
}
#endif

#ifdef FIRST_STACK
/* Healthy: the stack that the kernel started on is the one that it is entered on, and the way to ring 3 was from
 * somewhere in its middle. */
extern uint8_t first_stack_end[];
void handle(void)
{
    if (++count == 4)
        end();
}
void main(void)
{
    volatile uint32_t locals[24];
    for (int i = 0; i < 24; i++)
        locals[i] = i;
    gate(0x80, calls, FOR_USER);
    begin((uint32_t)first_stack_end);
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef RECURSES
/* Two tasks with stacks side by side; the second one's system call calls itself until its stack is full, and further. */
static uint8_t stacks[2][2048] __attribute__((aligned(4096)));
static uint32_t kept[2];
static int now;
uint32_t switch_task(uint32_t esp)
{
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = esp;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return kept[now];
}
__asm__("timer: pusha\n push %esp\n call switch_task\n mov %eax, %esp\n popa\n iret\n");
extern uint8_t timer[];
static uint32_t __attribute__((noinline)) deeper(uint32_t n)
{
    volatile uint32_t locals[8] = {n, n, n, n, n, n, n, n};
    return n ? deeper(n - 1) + locals[n & 7] : 0;
}
void handle(void) { deeper(45); }
static void idle(void)
{
    for (;;)
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
    gate(0x80, calls, FOR_USER);
    make(0, idle);
    make(1, program);
    begin(END(stacks[0]));
    tick();
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %1, %%esp\n popa\n iret" : : "r"(USER_DATA), "r"(kept[0]) : "memory");
}
#endif

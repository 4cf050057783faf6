/* Kernels that are right, and built in a way that is near to a fault. */
#include "stubs.h"

#ifdef PROGRAMS_LOAD_DS
/* A program begins with null in DS and ES, which the IRET makes of the kernel's, and loads them itself behind its first call. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 8)
        end();
    return s;
}
__asm__("loads_ds: mov $1, %eax\n int $0x80\n mov $0x23, %ecx\n mov %ecx, %ds\n 1: mov (%esp), %edx\n int $0x80\n jmp 1b\n");
void loads_ds(void);
void main(void)
{
    start(END(stacks[0]));
    struct saved *s = make(0, loads_ds);
    s->ds = s->es = KERNEL_DATA;
    s->esp -= 16;
    resume(s);
}
#endif

#ifdef KEPT_BY_CALLERS
/* A switch that saves EBP alone, in a function whose compiler was told that the other registers change. */
static uint32_t pointers[2];
static void __attribute__((noinline)) give_way(void)
{
    uint32_t *old = &pointers[now], new = pointers[now ^= 1];
    __asm__ volatile("push %%ebp\n push $1f\n mov %%esp, (%0)\n mov %1, %%esp\n ret\n 1: pop %%ebp"
                     : "+a"(old), "+d"(new) : : "ebx", "ecx", "esi", "edi", "memory", "cc");
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    return s;
}
static void counts(void)
{
    __asm__ volatile("sti");
    for (uint32_t sum = 1;; sum = sum * 7 + 1) {
        for (uint32_t step = 0; step < 5; step++)
            give_way();
        if (++count == 400)
            end();
    }
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    for (int task = 0; task < 2; task++) {
        uint32_t *top = (uint32_t *)END(stacks[task]);
        *--top = 0;
        *--top = (uint32_t)counts;
        pointers[task] = (uint32_t)top;
    }
    __asm__ volatile("mov %0, %%esp\n ret" : : "m"(pointers[0]) : "memory");
}
#endif

#ifdef ENDS_ON_ANOTHER_STACK
/* A task that ends leaves its stack for that of a reaper, which fills the stack, and begins a new task there. */
static uint8_t reaper[1024] __attribute__((aligned(16)));
static void works(void)
{
    for (volatile int i = 0; i < 20; i++)
        ;
    ask(1, 0);
    __builtin_unreachable();
}
void reap(void)
{
    uint8_t *stack = stacks[now];
    for (uint32_t byte = 0; byte < sizeof stacks[0]; byte++)
        stack[byte] = 0x5a;
    if (++count == 12)
        end();
    make(now, works);
    now ^= 1;
    task_state[1] = END(stacks[now]);
    resume(kept[now]);
}
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80) {
        __asm__ volatile("mov %0, %%esp\n xor %%ebp, %%ebp\n call reap" : : "r"(reaper + sizeof reaper) : "memory");
        __builtin_unreachable();
    }
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    make(0, works);
    make(1, works);
    tick();
    resume(kept[0]);
}
#endif

#ifdef SERVICES_AT_10
/* System calls by the vectors that a BIOS has its services at. */
__asm__("screen: pusha\n call serves\n popa\n iret\n");
extern uint8_t screen[];
void serves(void)
{
    if (++count == 9)
        end();
}
struct saved *handle(struct saved *s)
{
    (void)s;
    panic();
}
static void calls_services(void)
{
    for (;;)
        __asm__ volatile("int $0x10\n int $0x13");
}
void main(void)
{
    gate(0x10, screen, FOR_USER);
    gate(0x13, screen, FOR_USER);
    start(END(kernel_stack));
    leave(calls_services, END(user_stack[0]), 0x202);
}
#endif

/* Stacks whose contents are another stack's. */
#include "stubs.h"

#ifdef COPIED_STACK
/* A child gets a copy of its parent's kernel stack; the addresses of that stack which it holds, EBP above all, lead back. */
static uint32_t pointers[2];
void switch_to(uint32_t *old, uint32_t new);
uint32_t copy_stack(uint32_t *child, uint32_t distance);
__asm__("switch_to: mov 4(%esp), %eax\n mov 8(%esp), %edx\n push %ebx\n push %esi\n push %edi\n push %ebp\n"
        "mov %esp, (%eax)\n mov %edx, %esp\n pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n mov $1, %eax\n ret\n"
        "copy_stack: mov 4(%esp), %eax\n mov 8(%esp), %edx\n push %ebx\n push %esi\n push %edi\n push %ebp\n"
        "lea (%esp,%edx), %edi\n mov %edi, (%eax)\n mov %esp, %esi\n mov $stacks + 4096, %ecx\n sub %esp, %ecx\n cld\n rep movsb\n"
        "pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n xor %eax, %eax\n ret\n");
static void give_way(void)
{
    int old = now;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    switch_to(&pointers[old], pointers[now]);
}
#define FRAMED __attribute__((noinline, optimize("no-omit-frame-pointer")))
static void FRAMED make_child(struct saved *s)
{
    volatile uint32_t room[4] = {0};
    uint32_t distance = END(stacks[1]) - END(stacks[0]);
    room[0] = copy_stack(&pointers[1], distance);
    if (room[0]) {
        struct saved *own = (struct saved *)END(stacks[1]) - 1;
        own->eax = 1, own->esp = END(programs[1]);
        return;
    }
    if (!BAD)
        for (uint32_t *word = (uint32_t *)pointers[1]; word < (uint32_t *)END(stacks[1]); word++)
            if (*word >= (uint32_t)stacks[0] && *word <= END(stacks[0]))
                *word += distance;
    s->eax = 0;
    give_way();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (s->eax == 2)
        make_child(s);
    else if (s->eax == 3)
        give_way();
    else if (++count == 6)
        end();
    return s;
}
__asm__("forks: mov $2, %eax\n int $0x80\n 1: mov $3, %eax\n int $0x80\n mov $4, %eax\n int $0x80\n jmp 1b\n");
extern uint8_t forks[];
void main(void)
{
    start(END(stacks[0]));
    make(0, (void (*)(void))forks);
    resume(kept[0]);
}
#endif

#ifdef STACK_EXCHANGED
/* Each address space has a kernel stack of its own, all at one address: a function that loads CR3 returns by the other's. */
#define STACK 0x300000
static uint32_t second_directory[1024] __attribute__((aligned(4096)));
static uint32_t second_table[1024] __attribute__((aligned(4096)));
static uint8_t second_stack[4096] __attribute__((aligned(4096)));
struct saved *handle(struct saved *s)
{
    panic();
    return s;
}
static void __attribute__((noinline)) to_space(uint32_t *space) { __asm__ volatile("mov %0, %%cr3" : : "r"(space) : "memory"); }
void on_it(void)
{
    to_space(BAD ? second_directory : directory);
    end();
}
void main(void)
{
    start(END(kernel_stack));
    map(3);
    for (int page = 0; page < 0x100; page++)
        table[page] = 0;
    for (int page = 0; page < 1024; page++)
        second_table[page] = table[page];
    second_table[STACK >> 12] = (uint32_t)second_stack | 3;
    second_directory[0] = (uint32_t)second_table | 7;
    paging();
    __asm__ volatile("mov %0, %%esp\n call on_it" : : "i"(STACK + 4096));
}
#endif

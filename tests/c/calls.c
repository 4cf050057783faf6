/* What the handler of a system call comes to. */
#include "stubs.h"

#ifdef HALTS_IN_CALL
/* A system call waits for ticks, and its gate has closed interrupts. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x20) {
        out(0x20, 0x20);
        count++;
        return s;
    }
    if (s->vector != 0x80)
        panic();
    for (uint32_t until = count + 3; count < until;)
        if (BAD)
            __asm__ volatile("hlt");
        else
            __asm__ volatile("sti\n hlt\n cli");
    if (count > 8)
        end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

#ifdef MISALIGNED
/* A handler's function keeps 16 bytes of an SSE register on a stack that the stub has not aligned. */
void keeps_a_register(void);
__asm__("keeps_a_register: sub $28, %esp\n movaps %xmm0, (%esp)\n movaps (%esp), %xmm0\n add $28, %esp\n ret\n");
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    uint32_t kept;
    __asm__ volatile("mov %%esp, %0\n and $-16, %%esp\n sub %1, %%esp\n call keeps_a_register\n mov %0, %%esp"
                     : "=&b"(kept) : "r"(BAD ? 4 : 0) : "eax", "ecx", "edx", "memory");
    if (++count == 5)
        end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    __asm__ volatile("mov %%cr4, %%eax\n or $0x600, %%eax\n mov %%eax, %%cr4\n mov %%cr0, %%eax\n and $~4, %%eax\n"
                     "mov %%eax, %%cr0" : : : "eax");
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

/* One default handler for all exceptions: which one it was, only the instruction and the words on the stack tell. */
#include "small.h"

static uint32_t directory[1024] __attribute__((aligned(4096)));

static inline void set_cr0(uint32_t bits)
{
    __asm__ volatile("mov %%cr0, %%eax\n or %0, %%eax\n mov %%eax, %%cr0" : : "r"(bits) : "eax");
}

void main(void)
{
    begin(END(kernel_stack));
#ifdef SEGMENT_NOT_PRESENT
    if (BAD)
        descriptors[4] &= ~(1ull << 47);
    __asm__ volatile("mov %0, %%fs" : : "r"(0x20));
#endif
#ifdef STACK_NOT_PRESENT
    if (BAD)
        descriptors[2] &= ~(1ull << 47);
    __asm__ volatile("mov %0, %%ss" : : "r"(KERNEL_DATA));
#endif
#ifdef GATE_NOT_PRESENT
    /* The type byte 0e instead of 8e. */
    gate(0x80, unexpected, BAD ? 0x0e00 : FOR_KERNEL);
    if (BAD)
        __asm__ volatile("int $0x80");
#endif
#ifdef TASK_SWITCHED
    /* CR0.TS is set for a lazy switch of the FPU, and nobody clears it. */
    set_cr0(BAD ? 8 : 0);
    __asm__ volatile("fld1\n fstp %st(0)");
#endif
#ifdef DIVIDES_BY_ZERO
    /* A floating-point division, with the exception unmasked. */
    static uint16_t control = 0x37f & ~4;
    set_cr0(0x20);
    __asm__ volatile("fninit\n fldcw %0" : : "m"(control));
    if (BAD)
        __asm__ volatile("fld1\n fldz\n fdivrp\n fwait");
#endif
#ifdef BOUND_EXCEEDED
    static int32_t limits[2] = {0, 9};
    __asm__ volatile("bound %0, %1" : : "r"(BAD ? 10 : 9), "m"(limits));
#endif
#ifdef STEPS_ITSELF
    /* What is popped as EFLAGS is something else, and has TF set. */
    __asm__ volatile("push %0\n popf\n nop" : : "r"(BAD ? 0x102 : 0x2) : "cc", "memory");
#endif
#ifdef SSE_NOT_ENABLED
    if (!BAD)
        __asm__ volatile("mov %%cr4, %%eax\n or $0x200, %%eax\n mov %%eax, %%cr4" : : : "eax");
    __asm__ volatile("movaps %xmm0, %xmm1");
#endif
#ifdef FAULT_IN_A_FAULT
    /* The gate for page faults names the data segment. */
    gates[14] = (gates[14] & ~0xffff0000ull) | KERNEL_DATA << 16;
    directory[0] = 0x83;
    __asm__ volatile("mov %%cr4, %%eax\n or $0x10, %%eax\n mov %%eax, %%cr4\n mov %0, %%cr3" : : "r"(directory) : "eax");
    set_cr0(0x80000000);
    *(volatile uint32_t *)(BAD ? 0x40000000 : 0x200000) = 1;
#endif
    end();
}

/* What is loaded into GDTR and TR. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    end();
    return s;
}

#ifdef GDT_POINTER_NOT_PACKED
/* The struct for LGDT has two bytes of padding. */
#ifdef MENDED
#define LAYOUT __attribute__((packed))
#else
#define LAYOUT
#endif
static struct {
    uint16_t limit;
    uint32_t base;
} LAYOUT gdtr;
void main(void)
{
    gdtr.limit = sizeof descriptors - 1, gdtr.base = (uint32_t)descriptors;
    __asm__ volatile("lgdt %0\n mov %1, %%eax\n mov %%ax, %%ds\n mov %%ax, %%es\n mov %%ax, %%ss\n ljmp $8, $1f\n 1:"
                     : : "m"(gdtr), "i"(KERNEL_DATA) : "eax", "memory");
    end();
}
#endif

#ifdef TR_BY_INDEX
/* LTR is given the number of the descriptor, and not its selector. */
void main(void)
{
    set_gates();
    make_tss(END(kernel_stack));
    load_gdt();
    load_idt();
    __asm__ volatile("ltr %0" : : "r"((uint16_t)(BAD ? TSS / 8 : TSS)) : "memory");
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

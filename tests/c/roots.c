/* Page tables that are right, and read otherwise than they were made: paging is turned on, and the next instruction is not
 * there. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    (void)s;
    panic();
}

static inline uint32_t cr4(uint32_t bit)
{
    uint32_t value;
    __asm__ volatile("mov %%cr4, %0\n or %1, %0\n mov %0, %%cr4" : "=&r"(value) : "r"(BAD ? 0 : bit));
    return value;
}

static inline void turn_on(const void *root)
{
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0" : : "r"(root) : "eax", "memory");
    end();
}

#ifdef LARGE_PAGES_OFF
/* Pages of 4 MiB, and CR4.PSE was not set. */
void main(void)
{
    start(END(kernel_stack));
    for (uint32_t index = 0; index < 1024; index++)
        directory[index] = index << 22 | 0x87;
    cr4(0x10);
    turn_on(directory);
}
#endif

#ifdef WIDE_ENTRIES
/* Tables of PAE, and CR4.PAE was not set. */
static uint64_t pointers[512] __attribute__((aligned(4096))), pages[512] __attribute__((aligned(4096)));
void main(void)
{
    start(END(kernel_stack));
    pointers[0] = (uint32_t)pages | 1;
    for (uint32_t index = 0; index < 512; index++)
        pages[index] = (uint64_t)index << 21 | 0x83;
    cr4(0x20);
    turn_on(pointers);
}
#endif

#ifdef DIRECTORY_IN_A_STRUCT
/* The directory stands behind a field of its struct, and CR3 gets its address, which begins no page. */
static struct {
#ifndef MENDED
    uint32_t users[3];
#endif
    uint32_t entries[1024];
} space __attribute__((aligned(4096)));
void main(void)
{
    start(END(kernel_stack));
    map(7);
    space.entries[0] = directory[0];
    turn_on(space.entries);
}
#endif

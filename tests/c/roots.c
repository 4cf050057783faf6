/* Page tables that are right, and read otherwise than they were made: paging is turned on, and the next instruction is not
 * there. */
#include "stubs.h"

#if defined HEAP_IN_ONE_ROOT || defined HEAP_BY_FAULT || defined PAGE_GIVEN_TWICE
#define handle_tasks handle
#else
struct saved *handle(struct saved *s)
{
    (void)s;
    panic();
}
#endif

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

#ifdef ROOT_BY_ITS_LINEAR_ADDRESS
/* The kernel is mapped at c0000000 as well, and CR3 gets a directory's address there. */
static uint32_t second[1024] __attribute__((aligned(4096)));
void main(void)
{
    start(END(kernel_stack));
    map(7);
    directory[768] = directory[0];
    paging();
    uint32_t *linear = (uint32_t *)((uint32_t)second + 0xc0000000);
    linear[0] = linear[768] = directory[0];
    __asm__ volatile("mov %0, %%cr3" : : "r"(BAD ? linear : second) : "memory");
    end();
}
#endif

#if defined HEAP_IN_ONE_ROOT || defined HEAP_BY_FAULT
/* The kernel's heap grows by a page table, which the directory of the task that runs gets alone. In the second kernel the
 * handler of page faults gives it to the others. */
static uint32_t roots[2][1024] __attribute__((aligned(4096)));
static uint32_t heap[1024] __attribute__((aligned(4096)));
enum { HEAP = 0xd0000000, ENTRY = HEAP >> 22 };
static volatile uint32_t *shared;
static void grow(void)
{
    for (uint32_t page = 0; page < 1024; page++)
        heap[page] = (0x400000 + (page << 12)) | 3;
    roots[now][ENTRY] = (uint32_t)heap | 3;
#ifdef HEAP_IN_ONE_ROOT
    if (!BAD)
        roots[now ^ 1][ENTRY] = roots[now][ENTRY];
#endif
    shared = (uint32_t *)HEAP;
}
struct saved *handle_tasks(struct saved *s)
{
#ifdef HEAP_BY_FAULT
    if (s->vector == 14 && !roots[now][ENTRY]) {
        roots[now][ENTRY] = roots[now ^ 1][ENTRY];
        return s;
    }
#endif
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    if (count == 3)
        grow();
    if (shared)
        ++*shared;
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    __asm__ volatile("mov %0, %%cr3" : : "r"(roots[now]) : "memory");
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    map(7);
    for (int task = 0; task < 2; task++) {
        make(task, spin);
        roots[task][0] = directory[0];
    }
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0" : : "r"(roots[0]) : "eax", "memory");
    tick();
    resume(kept[0]);
}
#endif

#ifdef PAGE_GIVEN_TWICE
/* The allocator marks the wrong page: a kernel stack is the page of a page table. */
static uint32_t used;
static uint32_t page(void)
{
    for (uint32_t index = 0;; index++)
        if (!(used & 1u << index)) {
            used |= 1u << (BAD && index == 1 ? 0 : index);
            return 0x400000 + (index << 12);
        }
}
static uint32_t ends[2];
struct saved *handle_tasks(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = s;
    now ^= 1;
    task_state[1] = ends[now];
    return kept[now];
}
void main(void)
{
    ends[0] = page() + 4096;
    start(ends[0]);
    make_at(ends[0], 0, spin);
    map(7);
    uint32_t *high = (uint32_t *)page();
    for (uint32_t index = 0; index < 1024; index++)
        high[index] = (0x400000 + (index << 12)) | 7;
    directory[1] = (uint32_t)high | 7;
    paging();
    ends[1] = page() + 4096;
    make_at(ends[1], 1, spin);
    tick();
    resume(kept[0]);
}
#endif

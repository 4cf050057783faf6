/* Work between two stops, for benchmarks beside another hypervisor: each kernel does it a number of times, and the one that
 * ends in MANY does it more often. What only a run costs is the same in both. The timer ticks meanwhile. */
#include "small.h"

__asm__("ticks: push %eax\n incl ticked\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n iret\n");
extern uint8_t ticks[];
volatile uint32_t ticked;

/* Calls, a loop, a table in memory: what a kernel is between two interrupts. */
static __attribute__((noinline)) uint32_t stir(uint32_t word) { return (word << 5 | word >> 27) * 0x9e3779b1u; }

static uint32_t table[1024];

static void loops(uint32_t millions)
{
    for (uint32_t round = millions * 1000000; round; round--)
        table[round % 1024] += stir(round);
}

/* One word in each page, from 16 MiB on. */
static void pages(uint32_t mebibytes)
{
    for (uint32_t page = 0; page < mebibytes * 256; page++)
        *(volatile uint32_t *)((16u << 20) + page * 4096) = page;
}

__asm__("calls: iret\n");
extern uint8_t calls[];

void main(void)
{
    begin(END(kernel_stack));
#ifdef TOUCHES_PAGES
    gate(0x80, calls, FOR_KERNEL);
    for (uint32_t round = 0;; round++) {
        for (uint32_t page = 0; page < 100; page++)
            *(volatile uint32_t *)((16u << 20) + page * 4096) = round;
        ask(0, 0);
    }
#endif
#ifdef CALLS
    gate(0x80, calls, FOR_KERNEL);
    for (;;)
        ask(0, 0);
#endif
    gate(0x20, ticks, FOR_KERNEL);
    tick();
    __asm__ volatile("sti");
#ifdef LOOPS_FEW
    loops(1);
#endif
#ifdef LOOPS_MANY
    loops(9);
#endif
#ifdef PAGES_FEW
    pages(8);
#endif
#ifdef PAGES_MANY
    pages(232);
#endif
    end();
}

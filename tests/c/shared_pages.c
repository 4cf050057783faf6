/* Two tasks share a page until one of them writes to it: copy-on-write. */
#include "stubs.h"

static uint32_t second[1024] __attribute__((aligned(4096)));
static uint32_t second_table[1024] __attribute__((aligned(4096)));
static uint8_t data[4096] __attribute__((aligned(4096)));
static uint8_t copy[4096] __attribute__((aligned(4096)));

#ifdef WRITES_WITHOUT_WP
struct saved *handle(struct saved *s)
{
    if (s->vector == 14) {
        uint32_t address, root;
        __asm__ volatile("mov %%cr2, %0\n mov %%cr3, %1" : "=r"(address), "=r"(root));
        if (address >> 12 != (uint32_t)data >> 12 || !(s->error & 1))
            panic();
        /* The first that writes gets a page of its own. */
        uint32_t *own = root == (uint32_t)directory ? table : second_table;
        for (int byte = 0; byte < 4096; byte++)
            copy[byte] = data[byte];
        own[(uint32_t)data >> 12] = (uint32_t)copy | 7;
        __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
        return s;
    }
    if (s->vector != 0x80)
        panic();
    if (s->eax == 1) {
        /* A call that fills in a buffer of the program's. */
        uint8_t *buffer = (uint8_t *)s->ebx;
        for (int byte = 0; byte < 8; byte++)
            buffer[byte] = 'a' + byte;
        return s;
    }
    if (s->eax == 2) {
        if (++count == 4)
            end();
        kept[now] = s;
        now ^= 1;
        task_state[1] = END(stacks[now]);
        __asm__ volatile("mov %0, %%cr3" : : "r"(now ? second : directory) : "memory");
        return kept[now];
    }
    panic();
}
static void reads(void)
{
    for (;;) {
        ask(1, (uint32_t)data);
        ask(2, 0);
    }
}
static void looks(void)
{
    for (;;)
        ask(2, data[0]);
}
void main(void)
{
    start(END(stacks[0]));
    map(7);
    table[(uint32_t)data >> 12] = (uint32_t)data | 5;
    for (int page = 0; page < 1024; page++)
        second_table[page] = table[page];
    second[0] = (uint32_t)second_table | 7;
    make(0, reads);
    make(1, looks);
    paging();
    if (!BAD)
        __asm__ volatile("mov %%cr0, %%eax\n or $0x10000, %%eax\n mov %%eax, %%cr0" : : : "eax");
    resume(kept[0]);
}
#endif

/* A kernel that stops at an instruction which does not exist, two calls deep. esp0 is to say in which
 * function and on which line. Built by telling.rs where there is a compiler. */

typedef unsigned int u32;

__asm__(".section .text\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".global _start\n"
        "_start: mov $kstack + 4096, %esp\n"
        "call kernel\n"
        "stop: cli; hlt; jmp stop\n"
        ".global undefined_opcode\n"
        "undefined_opcode: cli; hlt; jmp undefined_opcode\n");

void undefined_opcode(void);

char kstack[4096] __attribute__((aligned(16)));
char behind[64] __attribute__((aligned(16)));

struct gate { unsigned short low, selector, kind, high; };
static struct gate idt[32];
static unsigned long long gdt[3] = { 0, 0x00cf9a000000ffffull, 0x00cf92000000ffffull };

static void load(const void *table, u32 limit, int is_idt)
{
    struct { unsigned short limit; const void *base; } __attribute__((packed)) pointer = { limit, table };
    if (is_idt)
        __asm__ volatile("lidt %0" : : "m"(pointer));
    else
        __asm__ volatile("lgdt %0; ljmp $8, $1f; 1:" : : "m"(pointer));
}

__attribute__((noinline)) static void faulty(int depth)
{
    behind[depth] = 1;
    __asm__ volatile("ud2"); /* the faulty line */
    behind[depth] = 2;
}

__attribute__((noinline)) void kernel(void)
{
    u32 handler = (u32)undefined_opcode;
    load(gdt, sizeof gdt - 1, 0);
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" : : "r"(16));
    idt[6] = (struct gate){ handler & 0xffff, 8, 0x8e00, handler >> 16 };
    load(idt, sizeof idt - 1, 1);
    faulty(3);
}

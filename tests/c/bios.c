/* What kernels ask of a BIOS that is not there when they are loaded directly. Run by tests/kvm/bios.rs. */
#include "small.h"

static void hexadecimal(uint8_t value)
{
    out(0xe9, "0123456789abcdef"[value >> 4]);
    out(0xe9, "0123456789abcdef"[value & 15]);
}

#ifdef ASKS_BIOS
/* It goes back to real mode and asks for a letter on the screen, twice, and for the memory map; and says whether it got
 * that. */
__asm__(".data\n .align 16\n thunk:\n .code16\n"
        "mov $0x20, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov %cr0, %eax\n and $0xfe, %al\n mov %eax, %cr0\n"
        "ljmp $0, $(1f - thunk + 0x8000)\n 1: xor %ax, %ax\n mov %ax, %ds\n mov %ax, %ss\n mov $0x7000, %sp\n"
        "lidt (table - thunk + 0x8000)\n mov $0x0e41, %ax\n int $0x10\n mov $0x0e42, %ax\n int $0x10\n"
        "mov $0xe820, %eax\n int $0x15\n mov $'y', %al\n jnc 2f\n mov $'n', %al\n 2: out %al, $0xe9\n"
        "xor %al, %al\n out %al, $0xf4\n 3: hlt\n jmp 3b\n table: .word 0x3ff\n .long 0\n"
        ".code32\n thunk_end:\n .text\n");
extern uint8_t thunk[], thunk_end[];
static uint64_t segments[6] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00009a000000ffff, 0x000092000000ffff};
void main(void)
{
    struct pointer gdt = {sizeof segments - 1, (uint32_t)segments};
    begin(END(kernel_stack));
    for (uint32_t i = 0; thunk + i < thunk_end; i++)
        ((volatile uint8_t *)0x8000)[i] = thunk[i];
    __asm__ volatile("lgdt %0\n ljmp $0x18, $0x8000" : : "m"(gdt) : "memory");
}
#endif

#ifdef ASKS_FOR_DRIVES
/* It reads in the BIOS data area which drives there are. */
void main(void)
{
    begin(END(kernel_stack));
    hexadecimal(*(volatile uint8_t *)0x410);
    hexadecimal(*(volatile uint8_t *)0x475);
    out(0xe9, '\n');
    end();
}
#endif

/* What the small kernels here share: the way up, descriptors, gates, the timer. They are built by tests/compiled.rs,
 * one for each NAME in a file's `#ifdef NAME`, and run on KVM by tests/kvm. Those
 * with a fault have none with MENDED. Port 0xe9 is the console, port 0xf4 ends the run. */
#include <stdint.h>

enum { KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER_CODE = 0x1b, USER_DATA = 0x23, TSS = 0x28 };
enum { FOR_KERNEL = 0x8e00, FOR_USER = 0xee00 }; /* 32-bit interrupt gates, DPL 0 and 3 */

#ifdef MENDED
#define BAD 0
#else
#define BAD 1
#endif

/* The words of the Multiboot header, which a kernel may bring itself. */
#ifndef MULTIBOOT
#define MULTIBOOT "0x1badb002, 0, -0x1badb002"
#endif
#ifndef START
#define START
#endif

__asm__(".section .multiboot, \"a\"\n .align 4\n .long " MULTIBOOT "\n"
        ".text\n .globl _start\n _start: " START " mov $first_stack_end, %esp\n call main\n cli\n hlt\n"
        ".bss\n .align 16\n .skip 4096\n first_stack_end:\n .text\n");

/* What PUSHA leaves on the stack, below the frame. */
struct pushed {
    uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax, eip, cs, eflags, esp, ss;
};

/* A handler that saves the registers and calls a function with what it has pushed. */
#define STUB(name, function) \
    __asm__(#name ": pusha\n push %esp\n call " #function "\n add $4, %esp\n popa\n iret\n"); \
    extern uint8_t name[]

static uint64_t descriptors[6] = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff, 0x00cffa000000ffff, 0x00cff2000000ffff};
static uint64_t gates[256];
static uint32_t task_state[26] __attribute__((aligned(128)));

struct pointer {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

static inline void out(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void end(void)
{
    out(0xf4, 0);
    for (;;)
        __asm__ volatile("hlt");
}

/* The same, for a handler of assembly to call. */
void finish(void) { end(); }

/* How a kernel ends that did not expect an exception: quietly, so that findings have to tell. */
__asm__("unexpected: mov $'!', %al\n out %al, $0xe9\n 1: cli\n hlt\n jmp 1b\n");
extern uint8_t unexpected[];

static inline void gate(int vector, const void *handler, uint32_t type)
{
    uint32_t at = (uint32_t)handler;
    gates[vector] = (uint64_t)(at >> 16 << 16 | type) << 32 | KERNEL_CODE << 16 | (at & 0xffff);
}

static inline void load_gdt(void)
{
    struct pointer gdt = {sizeof descriptors - 1, (uint32_t)descriptors};
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n 1: mov %1, %%ds\n mov %1, %%es\n mov %1, %%fs\n mov %1, %%gs\n"
                     "mov %1, %%ss" : : "m"(gdt), "r"(KERNEL_DATA) : "memory");
}

static inline void load_idt(void)
{
    struct pointer idt = {sizeof gates - 1, (uint32_t)gates};
    for (int vector = 0; vector < 32; vector++)
        if (!gates[vector])
            gate(vector, unexpected, FOR_KERNEL);
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
}

static inline void make_tss(uint32_t esp0)
{
    uint32_t base = (uint32_t)task_state;
    descriptors[5] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    task_state[1] = esp0;
    task_state[2] = KERNEL_DATA;
    task_state[25] = 104 << 16;
}

static inline void load_tss(void) { __asm__ volatile("ltr %0" : : "r"((uint16_t)TSS) : "memory"); }

/* Own GDT, TSS and IDT; ESP0 as given. */
static inline void begin(uint32_t esp0)
{
    make_tss(esp0);
    load_gdt();
    load_idt();
    load_tss();
}

/* IRQ 0 at vector `base`, some hundred times a second; the other lines are masked. */
static inline void tick_at(uint8_t base)
{
    out(0x20, 0x11), out(0x21, base), out(0x21, 4), out(0x21, 1), out(0x21, 0xfe);
    out(0xa0, 0x11), out(0xa1, base + 8), out(0xa1, 2), out(0xa1, 1), out(0xa1, 0xff);
    out(0x43, 0x34), out(0x40, 0), out(0x40, 0x10);
}

static inline void tick(void) { tick_at(0x20); }

static inline uint32_t ask(uint32_t number, uint32_t argument)
{
    __asm__ volatile("int $0x80" : "+a"(number) : "b"(argument) : "memory");
    return number;
}

static inline void leave(void (*program)(void), uint32_t esp, uint32_t eflags)
{
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n push %0\n push %1\n push %2\n push %3\n push %4\n iret"
                     : : "r"(USER_DATA), "r"(esp), "r"(eflags), "i"(USER_CODE), "r"(program) : "memory");
    __builtin_unreachable();
}

static uint8_t kernel_stack[4096] __attribute__((aligned(4096)));
static uint8_t user_stack[2][4096] __attribute__((aligned(4096)));
#define END(array) ((uint32_t)((array) + sizeof(array)))

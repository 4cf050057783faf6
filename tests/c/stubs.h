/* Kernels with one stub a vector: each leaves a `struct saved` on the stack, and `handle` gives back the one to go on
 * with. So the timer exchanges tasks. */
#include "small.h"

struct saved {
    uint32_t es, ds, edi, esi, ebp, unused, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss;
};
struct saved *handle(struct saved *s);

__asm__(".text\n .align 16\n exceptions:\n .set v, 0\n .rept 32\n .align 16\n"
        ".if v != 8 && (v < 10 || v > 14) && v != 17\n push $0\n .endif\n push $v\n jmp common\n .set v, v + 1\n .endr\n"
        "timer: push $0\n push $0x20\n jmp common\n"
        "calls: push $0\n push $0x80\n"
        "common: pusha\n push %ds\n push %es\n mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n cld\n push %esp\n"
        "call handle\n mov %eax, %esp\n out: pop %es\n pop %ds\n popa\n add $8, %esp\n iret\n");
extern uint8_t exceptions[], timer[], calls[];
static volatile uint32_t count;

/* What most do with an exception that they do not expect. */
static inline void panic(void)
{
    out(0xe9, '!');
    for (;;)
        __asm__ volatile("cli\n hlt");
}

/* Gates for the exceptions, the timer and the system calls; then GDT, TSS and IDT. */
static inline void set_gates(void)
{
    for (int vector = 0; vector < 32; vector++)
        if (!gates[vector])
            gate(vector, exceptions + 16 * vector, FOR_KERNEL);
    if (!gates[0x20])
        gate(0x20, timer, FOR_KERNEL);
    if (!gates[0x80])
        gate(0x80, calls, FOR_USER);
}

static inline void start(uint32_t esp0)
{
    set_gates();
    begin(esp0);
}

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));

/* The first 4 MiB where they are, by pages. */
static inline void map(uint32_t rights)
{
    for (uint32_t page = 0; page < 1024; page++)
        table[page] = page << 12 | rights;
    directory[0] = (uint32_t)table | 7;
}

static inline void paging(void)
{
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0\n jmp 1f\n 1:"
                     : : "r"(directory) : "eax", "memory");
}

/* Three tasks in ring 3, each with a kernel stack. */
static uint8_t stacks[3][4096] __attribute__((aligned(4096)));
static uint8_t programs[3][4096] __attribute__((aligned(4096)));
static struct saved *kept[3];
static int now;

static inline struct saved *make_at(uint32_t end, int task, void (*program)(void))
{
    struct saved *s = (struct saved *)end - 1;
    *s = (struct saved){.ds = USER_DATA, .es = USER_DATA, .eip = (uint32_t)program, .cs = USER_CODE,
                        .eflags = 0x202, .esp = END(programs[task]), .ss = USER_DATA};
    return kept[task] = s;
}

static inline struct saved *make(int task, void (*program)(void)) { return make_at(END(stacks[task]), task, program); }

static inline void resume(struct saved *s)
{
    __asm__ volatile("mov %0, %%esp\n jmp out" : : "r"(s) : "memory");
    __builtin_unreachable();
}

static void spin(void)
{
    for (volatile uint32_t i = 0;; i++)
        ;
}

static void asks(void)
{
    for (;;)
        ask(0, 0);
}

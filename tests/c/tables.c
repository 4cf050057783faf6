/* LGDT, LIDT and LTR that load something else than was meant, and gates that lead elsewhere. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 3)
        end();
    return s;
}
static inline void wait(void)
{
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}

#ifdef NO_FAR_JUMP
/* CS keeps what the boot loader put there, which in the kernel's own table is a data segment. */
void main(void)
{
    struct pointer gdt = {sizeof descriptors - 1, (uint32_t)descriptors};
    if (BAD)
        __asm__ volatile("lgdt %0\n mov %1, %%ds\n mov %1, %%es\n mov %1, %%ss" : : "m"(gdt), "r"(KERNEL_DATA) : "memory");
    else
        load_gdt();
    set_gates();
    load_idt();
    tick();
    wait();
}
#endif

#ifdef LIDT_OF_GDT
/* The compiler was not told that LIDT reads the six bytes: what it reads is LGDT's. */
void main(void)
{
    static struct pointer both;
    both = (struct pointer){sizeof descriptors - 1, (uint32_t)descriptors};
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n 1:" : : "m"(both) : "memory");
    set_gates();
    load_idt();
    if (BAD)
        __asm__ volatile("lidt %0" : : "m"(both) : "memory");
    tick();
    wait();
}
#endif

#ifdef OPENED_BEFORE_LIDT
void main(void)
{
    load_gdt();
    set_gates();
    if (!BAD)
        load_idt();
    tick();
    __asm__ volatile("sti\n hlt");
    load_idt();
    wait();
}
#endif

#ifdef LIMIT_BEFORE_GATE
/* The limit is the number of gates and not of bytes. */
static void program(void) { ask(0, 0); }
void main(void)
{
    start(END(kernel_stack));
    struct pointer idt = {BAD ? 255 : sizeof gates - 1, (uint32_t)gates};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef FIELDS_OF_16_BITS
/* The structure has 16 bits for the backlink, and nothing to fill it up to 32. */
static void program(void) { ask(0, 0); }
void main(void)
{
    start(END(kernel_stack));
    if (BAD) {
        uint8_t *low = (uint8_t *)task_state;
        __builtin_memset(low, 0, 12);
        __builtin_memcpy(low + 2, (uint32_t[]){END(kernel_stack)}, 4);
        __builtin_memcpy(low + 6, (uint16_t[]){KERNEL_DATA}, 2);
    }
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef INT_OF_A_FAULT
/* All gates have DPL 3, and a program comes to the page fault's handler, which takes an error code off. */
static void program(void)
{
    __asm__ volatile("int $14");
    ask(0, 0);
}
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        gate(14, exceptions + 16 * 14, FOR_USER);
    else
        gate(14, calls, FOR_USER);
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef TASK_WITHOUT_DIRECTORY
/* A task of its own for the double fault, and its CR3 was not filled in. */
static uint32_t other_state[26] __attribute__((aligned(128)));
static uint64_t table_of_tasks[8];
void other(void) { end(); }
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    uint32_t base = (uint32_t)other_state;
    __builtin_memcpy(table_of_tasks, descriptors, sizeof descriptors);
    table_of_tasks[5] &= ~(2ull << 40);
    table_of_tasks[6] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    other_state[7] = BAD ? 0 : (uint32_t)directory;
    other_state[8] = (uint32_t)other, other_state[9] = 2, other_state[14] = END(user_stack[1]);
    other_state[18] = other_state[20] = other_state[21] = KERNEL_DATA, other_state[19] = KERNEL_CODE;
    other_state[22] = other_state[23] = KERNEL_DATA, other_state[25] = 104 << 16;
    struct pointer gdt = {sizeof table_of_tasks - 1, (uint32_t)table_of_tasks};
    __asm__ volatile("lgdt %0\n ljmp $0x30, $0" : : "m"(gdt) : "memory");
}
#endif

#ifdef LIMIT_IN_BYTES
/* The code segment of ring 3 has a limit of 1 MiB and not of 4 GiB, and the program lies above. */
static void program(void) { ask(0, 0); }
void main(void)
{
    if (BAD)
        descriptors[3] &= ~(1ull << 55);
    start(END(kernel_stack));
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef BEYOND_ITS_LIMIT
/* Ring 0 goes on in a code segment that ends at 1 MiB, and it lies above: so does its HLT, and where the timer's handler
 * goes back to. An IRET stands right before the handler. */
static volatile uint32_t beats;
__asm__("way_back: iret\n"
        "beat: push %eax\n incl beats\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n cmpl $2, beats\n ja way_back\n iret\n"
        "go_on: pushf\n push $0x18\n push $1f\n iret\n 1: ret\n");
extern uint8_t beat[];
void go_on(void);
void main(void)
{
    descriptors[3] = BAD ? 0x004f9a000000ffff : 0x00cf9a000000ffff;
    gate(0x20, beat, FOR_KERNEL);
    begin(END(kernel_stack));
    go_on();
    tick();
    while (beats < 4)
        __asm__ volatile("sti\n hlt");
    end();
}
#endif

#ifdef HALTS_BEHIND_ITS_LIMIT
/* The code segment of ring 0 ends right in front of the HLT of its loop, with the STI. */
static volatile uint32_t beats;
__asm__("beat: push %eax\n incl beats\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n iret\n"
        "go_on: push $0x18\n push $1f\n lret\n 1: ret\n"
        ".balign 4096\n .skip 4095, 0x90\n halt_there: sti\n behind_limit: hlt\n ret\n");
extern uint8_t beat[], behind_limit[];
void go_on(void), halt_there(void);
void main(void)
{
    uint32_t last = (uint32_t)behind_limit / 4096 - 1;
    descriptors[3] = BAD ? 0x00c09a0000000000 | (uint64_t)(last >> 16) << 48 | last & 0xffff : 0x00cf9a000000ffff;
    gate(0x20, beat, FOR_KERNEL);
    begin(END(kernel_stack));
    go_on();
    tick();
    while (beats < 4)
        halt_there();
    end();
}
#endif

#ifdef DIRECTORY_CLEARED
/* The page directory that CR3 names is cleared for another use: what the processor has cached still works, for a while. */
static uint32_t sum;
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    if (BAD)
        __builtin_memset(directory, 0, sizeof directory);
    for (uint32_t page = 0; page < 64; page++)
        sum += *(volatile uint32_t *)(0x200000 + page * 4096);
    end();
}
#endif

#ifdef WAITS_IN_DEFAULT_HANDLER
/* A healthy one: the kernel waits where all gates lead that it has no handler for. */
__asm__("hang: jmp hang\n");
extern uint8_t hang[];
void main(void)
{
    for (int vector = 0x21; vector < 0x30; vector++)
        gate(vector, hang, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    __asm__ volatile("sti\n jmp hang");
}
#endif

#ifdef TABLE_IN_A_FRAME
/* The GDT is an array of a function that has returned. */
static void __attribute__((noinline)) load_local(void)
{
    volatile uint64_t table[3] = {0, descriptors[1], descriptors[2]};
    struct pointer gdt = {sizeof table - 1, BAD ? (uint32_t)table : (uint32_t)descriptors};
    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n 1:" : : "m"(gdt) : "memory");
}
static void __attribute__((noinline)) draw(void)
{
    volatile uint32_t line[24];
    for (int i = 0; i < 24; i++)
        line[i] = '=';
}
void go_on(void)
{
    set_gates();
    load_local();
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %0, %%ss" : : "r"(KERNEL_DATA));
    load_idt();
    draw();
    tick();
    for (;;)
        __asm__ volatile("sti\n hlt");
}
void main(void)
{
    __asm__ volatile("mov %0, %%esp\n call go_on" : : "r"(END(kernel_stack)));
    __builtin_unreachable();
}
#endif

#ifdef SIXTEEN_BYTES
/* Gates of 16 bytes, as in 64-bit mode. */
static uint64_t wide[512];
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 256; vector++)
        wide[BAD ? 2 * vector : vector] = gates[vector];
    struct pointer idt = {sizeof gates - 1, (uint32_t)(BAD ? wide : gates)};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    tick();
    wait();
}
#endif

#ifdef STACK_SEGMENT_OF_RING_0
/* A task of ring 3, and its TSS has the kernel's data segment as SS. */
static uint32_t user_state[26] __attribute__((aligned(128)));
static uint64_t table_of_tasks[8];
static void program(void) { ask(0, 0); }
void main(void)
{
    start(END(kernel_stack));
    uint32_t base = (uint32_t)user_state;
    __builtin_memcpy(table_of_tasks, descriptors, sizeof descriptors);
    table_of_tasks[5] &= ~(2ull << 40);
    table_of_tasks[6] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    user_state[1] = END(stacks[1]), user_state[2] = KERNEL_DATA;
    user_state[8] = (uint32_t)program, user_state[9] = 2, user_state[14] = END(user_stack[1]);
    user_state[18] = user_state[21] = user_state[22] = user_state[23] = USER_DATA, user_state[19] = USER_CODE;
    user_state[20] = BAD ? KERNEL_DATA : USER_DATA, user_state[25] = 104 << 16;
    struct pointer gdt = {sizeof table_of_tasks - 1, (uint32_t)table_of_tasks};
    __asm__ volatile("lgdt %0\n ljmp $0x30, $0" : : "m"(gdt) : "memory");
}
#endif

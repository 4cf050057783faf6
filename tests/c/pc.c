/* What kernels do with a PC's screen, its local APIC and its task gates. Run by tests/kvm/pc.rs. */
#ifdef LOADERS_STACK
#define START "jmp too_early\n"
#endif
#ifdef GRAPHICS
#define MULTIBOOT "0x1badb002, 4, -0x1badb006, 0, 0, 0, 0, 0, 0, 640, 480, 32"
#endif
#include "small.h"

#ifdef GRAPHICS
/* It asks its loader for graphics, and draws a red line on what it got, if the memory map has left that alone. */
struct information {
    uint32_t flags, mem_lower, mem_upper, unused[7], count, map_length, map, others[5];
    struct { uint8_t before[40]; uint32_t address; } __attribute__((packed)) *vbe_control, *vbe_mode;
    uint32_t vbe[2];
    uint32_t address, high, pitch, width, height;
    uint8_t depth, kind, red_at, red_size;
} __attribute__((packed));
void main(void)
{
    struct information *information;
    __asm__ volatile("" : "=b"(information));
    begin(END(kernel_stack));
    if ((information->flags & 0x1800) != 0x1800 || information->kind != 1 || information->depth != 32)
        out(0xe9, '?');
    else if (information->vbe_mode->address != information->address)
        out(0xe9, 'v');
    else if (0x100000 + information->mem_upper * 1024 > information->address)
        out(0xe9, 'm');
    else {
        uint32_t *line = (uint32_t *)(information->address + information->pitch * (information->height / 2));
        for (uint32_t x = 0; x < information->width; x++)
            line[x] = 0xff << information->red_at;
    }
    end();
}
#endif

#ifdef LOADERS_STACK
/* It calls a function before it has a stack of its own. */
__asm__(".text\n .globl too_early\n too_early: push $'s'\n call 1f\n add $4, %esp\n mov $first_stack_end, %esp\n"
        "call main\n 1: mov 4(%esp), %eax\n out %al, $0xe9\n ret\n");
void main(void)
{
    begin(END(kernel_stack));
    end();
}
#endif

#ifdef ON_SCREEN
/* It prints on the screen alone, a letter a tick, and never ends. */
static volatile uint32_t ticks;
__asm__("timer: pusha\n cld\n call ticked\n popa\n iret\n");
extern uint8_t timer[];
void ticked(void)
{
    static const char text[] = "login: ready";
    volatile uint16_t *line = (volatile uint16_t *)0xb8000 + 80 * 3;
    if (ticks < sizeof(text) - 1)
        line[ticks] = 0x0700 | text[ticks];
    ticks++;
    out(0x20, 0x20);
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    for (;;)
        __asm__ volatile("sti\n hlt");
}
#endif

#ifdef APIC_ID
/* It asks for its processor's number at each turn of a loop, then watches the timer count, and then is interrupted by
 * it: what is in service then can be read. */
#define APIC(offset) (*(volatile uint32_t *)(0xfee00000 + (offset)))
static volatile uint32_t ticks, served;
__asm__("timer: pusha\n cld\n call ticked\n popa\n iret\n");
extern uint8_t timer[];
void ticked(void)
{
    served += APIC(0x110) >> 16 & 1;
    ticks++;
    APIC(0xb0) = 0;
    served -= APIC(0x110) >> 16 & 1;
}
void main(void)
{
    uint32_t sum = 0, last, moves = 0;
    gate(0x30, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    out(0x21, 0xff), out(0xa1, 0xff);
    APIC(0xf0) = 0x1ff;
    for (int i = 0; i < 30000; i++)
        sum += APIC(0x20) >> 24;
    out(0xe9, sum ? '!' : 'i');
    APIC(0x3e0) = 0xb;
    APIC(0x320) = 0x20030;
    APIC(0x380) = 10000000;
    last = APIC(0x390);
    while (moves < 3) {
        uint32_t now = APIC(0x390);
        moves += now != last;
        last = now;
    }
    out(0xe9, 'c');
    while (ticks < 3)
        __asm__ volatile("sti\n nop\n cli" : : : "memory");
    out(0xe9, served == ticks ? 's' : '!');
    end();
}
#endif

#ifdef CALL_GATE
/* Ring 3 enters the kernel by a call gate, twice, and then by an INT n. A double fault would be a task of its own. */
static uint64_t wider[8];
static uint32_t last_resort[26] __attribute__((aligned(128)));
static volatile uint32_t visits;
__asm__("called: incl visits\n lret\n asked: mov visits, %al\n add $'0', %al\n out %al, $0xe9\n call finish\n");
extern uint8_t called[], asked[];
static void user(void)
{
    __asm__ volatile("lcall $0x33, $0\n lcall $0x33, $0\n int $0x80");
}
void main(void)
{
    uint32_t base = (uint32_t)last_resort, at = (uint32_t)called;
    struct pointer gdt = {sizeof wider - 1, (uint32_t)wider};
    gate(0x80, asked, FOR_USER);
    gates[8] = 0x0000850000380000ull;
    begin(END(kernel_stack));
    for (int i = 0; i < 6; i++)
        wider[i] = descriptors[i];
    wider[6] = (uint64_t)(at >> 16 << 16 | 0xec00) << 32 | KERNEL_CODE << 16 | (at & 0xffff);
    wider[7] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    last_resort[8] = (uint32_t)finish;
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
    leave(user, END(user_stack[0]), 2);
}
#endif

#ifdef TASK_RETURN
/* Interrupt 0x30 is a task of its own, behind a task gate, which comes back by IRET with NT set to an INT n: the next
 * entry is not from where that IRET stood. */
static uint64_t wider[8];
static uint32_t outer[26] __attribute__((aligned(128)));
static uint8_t outer_stack[1024];
static volatile uint32_t visits;
__asm__("outer_task: incl visits\n iret\n jmp outer_task\n");
extern uint8_t outer_task[];
__asm__("plain: push %eax\n pop %eax\n iret\n");
extern uint8_t plain[];
void main(void)
{
    uint32_t base = (uint32_t)outer;
    struct pointer gdt = {sizeof wider - 1, (uint32_t)wider};
    gate(0x31, plain, FOR_KERNEL);
    begin(END(kernel_stack));
    for (int i = 0; i < 6; i++)
        wider[i] = descriptors[i];
    wider[6] = 0x0000890000000067ull | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
    gates[0x30] = 0x0000850000300000ull;
    outer[8] = (uint32_t)outer_task;
    outer[9] = 2;
    outer[14] = END(outer_stack);
    outer[19] = KERNEL_CODE;
    outer[18] = outer[20] = outer[21] = KERNEL_DATA;
    outer[25] = 104 << 16;
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
    for (int i = 0; i < 3; i++)
        __asm__ volatile("int $0x30\n int $0x31" : : : "memory");
    out(0xe9, '0' + visits);
    end();
}
#endif

#ifdef NMI_TO_ITSELF
/* An NMI that it sends itself comes with interrupts closed, and the next one after the first one's IRET only. */
#define APIC_COMMAND (*(volatile uint32_t *)0xfee00300)
static volatile uint32_t handled, nested;
__asm__("nmi: pusha\n cld\n call interrupted\n popa\n iret\n");
extern uint8_t nmi[];
void interrupted(void)
{
    uint32_t before = handled;
    if (before == 0)
        APIC_COMMAND = 0x40400;
    for (volatile int i = 0; i < 100; i++)
        nested |= handled != before;
    handled++;
}
void main(void)
{
    gate(2, nmi, FOR_KERNEL);
    begin(END(kernel_stack));
    APIC_COMMAND = 0x40400;
    while (handled < 2)
        ;
    out(0xe9, nested ? '!' : 'n');
    end();
}
#endif

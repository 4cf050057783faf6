/* The interrupt controller, and handlers of its interrupts. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 4)
        end();
    return s;
}
static void idle(void)
{
    for (;;)
        __asm__ volatile("sti\n hlt");
}

#ifdef NO_GATE_FOR_IRQ
/* The 8259's base is 30, and the gates are made for 20. */
void main(void)
{
    start(END(kernel_stack));
    tick_at(BAD ? 0x30 : 0x20);
    leave(spin, END(user_stack[0]), 0x202);
}
#endif

#ifdef OTHER_EXCEPTIONS
/* The 8259's base is 10. */
void main(void)
{
    start(END(kernel_stack));
    tick_at(BAD ? 0x10 : 0x20);
    idle();
}
#endif

#if defined SEGMENTS_EXCHANGED || defined SELECTORS_EXCHANGED
/* FS and GS are popped in the order of their pushes. They name other memory, or the same. */
__asm__("exchanges: push %fs\n push %gs\n push %eax\n incl count\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n"
        "cmpl $4, count\n je finish\n"
#if BAD
        "pop %fs\n pop %gs\n iret\n");
#else
        "pop %gs\n pop %fs\n iret\n");
#endif
extern uint8_t exchanges[];
void main(void)
{
    start(END(kernel_stack));
    gate(0x20, exchanges, FOR_KERNEL);
#ifdef SEGMENTS_EXCHANGED
    descriptors[4] |= 0x1000 << 16;
#endif
    __asm__ volatile("mov %0, %%gs" : : "r"(USER_DATA));
    tick();
    __asm__ volatile("sti\n 1: jmp 1b");
}
#endif

#ifdef NOT_OPENED
/* Nobody has opened interrupts. */
void main(void)
{
    start(END(kernel_stack));
    tick();
    if (!BAD)
        __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}
#endif

#ifdef ALL_MASKED
void main(void)
{
    start(END(kernel_stack));
    tick();
    if (BAD)
        out(0x21, 0xff);
    idle();
}
#endif

#ifdef FUNCTION_AS_HANDLER
/* The gate names a function of C, which ends in RET. */
void __attribute__((noinline)) ticked(void)
{
    out(0x20, 0x20);
    if (++count == 4)
        end();
}
void main(void)
{
    gate(0x20, BAD ? (uint8_t *)ticked : timer, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    idle();
}
#endif

#ifdef TRAP_GATE
/* Unusual: interrupts stay open in the timer's handler. */
void main(void)
{
    gate(0x20, timer, BAD ? 0x8f00 : FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    idle();
}
#endif

#ifdef HALF_A_COUNT
/* The count's upper byte is forgotten. */
void main(void)
{
    start(END(kernel_stack));
    tick();
    out(0x43, 0x36), out(0x40, 0x9b);
    if (!BAD)
        out(0x40, 0x2e);
    leave(spin, END(user_stack[0]), 0x202);
}
#endif

#ifdef READ_ONCE
/* What a compiler makes of a loop over a variable that is not volatile. */
static volatile uint32_t seen;
__asm__("ticks: incl seen\n push %eax\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n iret\n");
extern uint8_t ticks[];
__attribute__((noinline)) static void wait(void)
{
    if (BAD)
        __asm__ volatile("mov seen, %%eax\n nop\n 1: test %%eax, %%eax\n pause\n jz 1b" : : : "eax");
    while (!seen)
        ;
    end();
}
void main(void)
{
    gate(0x20, ticks, FOR_KERNEL);
    start(END(kernel_stack));
    tick();
    __asm__ volatile("sti");
    wait();
}
#endif

#ifdef LIDT_OF_TABLE
/* LIDT is given the table, and not its size and address. */
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("lidt gates");
    tick();
    idle();
}
#endif

#ifdef POINTER_NOT_PACKED
/* The compiler aligns the base, which comes two bytes late. */
void main(void)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } idt = {sizeof gates - 1, (uint32_t)gates};
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("lidt %0" : : "m"(idt));
    tick();
    idle();
}
#endif

#ifdef CALLED_HANDLER
/* The gate's code saves the registers and calls a function that ends in IRET itself. */
static volatile uint32_t served;
void acknowledge(void)
{
    out(0x20, 0x20);
    if (++served == 5)
        end();
}
__asm__("saves: pusha\n call serve\n popa\n iret\n"
        "serve: push %eax\n call acknowledge\n pop %eax\n"
#ifdef MENDED
        "ret\n"
#else
        "iret\n"
#endif
        ".type serve, @function\n.size serve, . - serve\n");
extern uint8_t saves[];
void main(void)
{
    gate(0x20, saves, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    for (;;)
        __asm__ volatile("sti\n hlt");
}
#endif

#ifdef TELLS_OF_ANOTHER
/* The stub pushes the vector first and the code after it, and the handler reads them the other way round: the timer's tick
 * is taken for a division by zero. */
#ifdef MENDED
#define PUSHES "push $0\n push $0x20\n"
#else
#define PUSHES "push $0x20\n push $0\n"
#endif
__asm__("reads: " PUSHES " pusha\n push %esp\n call by_vector\n add $4, %esp\n popa\n add $8, %esp\n iret\n");
extern uint8_t reads[];
struct read {
    uint32_t registers[8], vector, code;
};
void by_vector(struct read *r)
{
    if (r->vector == 0) {
        for (const char *at = "#0 Divide error, system halted\n"; *at; at++)
            out(0xe9, *at);
        for (;;)
            __asm__ volatile("cli\n hlt");
    }
    out(0x20, 0x20);
    end();
}
void main(void)
{
    begin(END(kernel_stack));
    gate(0x20, reads, FOR_KERNEL);
    tick();
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}
#endif

#ifdef DATA_OF_PROGRAM
/* Programs have segments of their own at 2 MiB, and the handler counts its calls without loading DS. */
uint32_t calls_made;
#if BAD
#define LOAD_DS ""
#else
#define LOAD_DS "mov $0x10, %eax\n mov %eax, %ds\n"
#endif
__asm__("counts: push %ds\n push %eax\n" LOAD_DS " incl calls_made\n cmpl $4, calls_made\n jne 1f\n call finish\n 1: pop %eax\n pop %ds\n iret\n"
        "stops: call finish\n");
extern uint8_t counts[], stops[];
void main(void)
{
    uint8_t *program = (uint8_t *)0x200000;
    for (int i = 0; i < 8; i++)
        *program++ = 0xcd, *program++ = 0x80;
    *program++ = 0xcd, *program++ = 0x81;
    descriptors[3] = 0x0040fa200000ffff, descriptors[4] = 0x0040f2200000ffff;
    gate(0x80, counts, FOR_USER);
    gate(0x81, stops, FOR_USER);
    begin(END(kernel_stack));
    leave((void (*)(void))0, 0x8000, 2);
}
#endif

#ifdef CLOSED_BY_POPF
/* STI opens interrupts, and a POPF closes them again: the flags had been pushed before. */
static void __attribute__((noinline)) sets_up(void)
{
    uint32_t flags;
    __asm__ volatile("pushf\n pop %0" : "=r"(flags));
    tick();
    __asm__ volatile("sti");
    if (BAD)
        __asm__ volatile("push %0\n popf" : : "r"(flags) : "memory");
}
void main(void)
{
    start(END(kernel_stack));
    sets_up();
    for (;;)
        __asm__ volatile("hlt");
}
#endif

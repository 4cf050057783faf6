/* Gates whose words are right and in the wrong place, and vectors that are not what the stub means. */
#include "stubs.h"

#if defined TYPE_IN_FRONT || defined CODE_FOR_ADDRESS
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 5)
        end();
    return s;
}
static void wait(void)
{
    tick();
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}
#endif

#ifdef TYPE_IN_FRONT
/* The struct has the type byte before the byte that has to be 0. */
struct entry {
    uint16_t low, selector;
    uint8_t a, b;
    uint16_t high;
} __attribute__((packed));
static void set(int vector, const void *handler)
{
    uint32_t at = (uint32_t)handler;
    struct entry entry = {at, KERNEL_CODE, BAD ? 0x8e : 0, BAD ? 0 : 0x8e, at >> 16};
    gates[vector] = *(uint64_t *)&entry;
}
void main(void)
{
    make_tss(END(kernel_stack));
    load_gdt();
    for (int vector = 0; vector < 32; vector++)
        set(vector, exceptions + 16 * vector);
    set(0x20, timer);
    load_idt();
    wait();
}
#endif

#ifdef CODE_FOR_ADDRESS
/* The label is declared as a variable, and its value taken for its address. */
extern uint32_t timer_word __asm__("timer");
void main(void)
{
    gate(0x20, BAD ? (void *)timer_word : &timer_word, FOR_KERNEL);
    start(END(kernel_stack));
    wait();
}
#endif

#ifdef VECTOR_AS_A_BYTE
/* `push byte 0x80`: the vector that the handler sees is -128, and it is an index. */
#if BAD
__asm__("by_byte: push $0\n .byte 0x6a, 0x80\n jmp common\n");
#else
__asm__("by_byte: push $0\n push $0x80\n jmp common\n");
#endif
extern uint8_t by_byte[];
static struct {
    uint32_t names[256];
    void (*handlers[256])(struct saved *);
} known;
static void called(struct saved *s)
{
    (void)s;
    if (++count == 20)
        end();
}
static void unknown(struct saved *s)
{
    (void)s;
    panic();
}
struct saved *handle(struct saved *s)
{
    known.handlers[(int32_t)s->vector](s);
    return s;
}
void main(void)
{
    for (int vector = 0; vector < 256; vector++)
        known.handlers[vector] = unknown, known.names[vector] = 0x400000 + vector;
    known.handlers[0x80] = called;
    gate(0x80, by_byte, FOR_USER);
    start(END(kernel_stack));
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

#ifdef BIOS_BY_INT
/* A service of the BIOS, out of protected mode. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    panic();
}
void main(void)
{
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("int $0x10" : : "a"(3));
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

#ifdef STACK_BEHIND_GATES
/* ESP is the start of the stack, and the IDT lies below it. */
static struct {
    uint64_t table[256];
    uint8_t stack[8192];
} all __attribute__((aligned(16)));
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 5)
        end();
    return s;
}
void works(void)
{
    tick();
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 256; vector++)
        all.table[vector] = gates[vector] ? gates[vector] : gates[13];
    struct pointer idt = {sizeof all.table - 1, (uint32_t)all.table};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    __asm__ volatile("mov %0, %%esp\n call works" : : "r"(BAD ? all.stack : all.stack + sizeof all.stack) : "memory");
    __builtin_unreachable();
}
#endif

#ifdef GATES_CLEARED
/* A function that clears a buffer counts bytes and stores words: the IDT lies behind it. */
static struct {
    uint8_t buffer[1024];
    uint64_t table[256];
} all __attribute__((aligned(8)));
static void __attribute__((noinline)) clear(void *start, uint32_t bytes)
{
    volatile uint32_t *word = start;
    for (uint32_t index = 0; index < (BAD ? bytes : bytes / 4); index++)
        word[index] = 0;
}
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x20) {
        out(0x20, 0x20);
        end();
    }
    if (s->vector != 0x80)
        panic();
    clear(all.buffer, sizeof all.buffer);
    tick();
    return s;
}
static void asks_once(void)
{
    ask(1, 0);
    spin();
}
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 256; vector++)
        all.table[vector] = gates[vector];
    struct pointer idt = {sizeof all.table - 1, (uint32_t)all.table};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    leave(asks_once, END(user_stack[0]), 0x202);
}
#endif

#ifdef STACK_INTO_GATES
/* The stack behind the IDT is too small, and grows down into gates that nobody uses. */
#if BAD
#define ROOM "128"
#else
#define ROOM "4096"
#endif
__asm__(".bss\n .align 16\n table_below: .skip 2048\n .type table_below, @object\n .size table_below, 2048\n"
        "small_stack: .skip " ROOM "\n .type small_stack, @object\n .size small_stack, " ROOM "\n small_stack_end: .text\n");
extern uint64_t table_below[256];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 5)
        end();
    return s;
}
static void __attribute__((noinline)) waits_with(volatile uint8_t *buffer)
{
    buffer[0] = 1;
    __asm__ volatile("sti");
    for (;;)
        __asm__ volatile("hlt");
}
void works(void)
{
    uint8_t buffer[200];
    tick();
    waits_with(buffer);
}
void main(void)
{
    start(END(kernel_stack));
    for (int vector = 0; vector < 0x30; vector++)
        table_below[vector] = gates[vector];
    struct pointer idt = {2047, (uint32_t)table_below};
    __asm__ volatile("lidt %0" : : "m"(idt) : "memory");
    __asm__ volatile("mov $small_stack_end, %%esp\n call works" : : : "memory");
    __builtin_unreachable();
}
#endif

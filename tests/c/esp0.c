/* ESP0 that is not a stack's end. */
#include "stubs.h"

struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 4)
        end();
    return s;
}
static void run(uint32_t esp0)
{
    start(esp0);
    leave(asks, END(user_stack[0]), 2);
}

#ifdef ANOTHER_ARRAY
/* The end of a table of the kernel's. */
static uint32_t names[256];
void main(void)
{
    for (int i = 0; i < 256; i++)
        names[i] = i * 0x1001 + 1;
    run(BAD ? (uint32_t)(names + 256) : END(kernel_stack));
}
#endif

#ifdef ADDRESS_OF_POINTER
/* The address of the variable that holds the end. The compiler places variables in the reverse order. */
static uint8_t *stack_top = kernel_stack + sizeof kernel_stack;
static uint32_t before[8] = {1, 2, 3, 4, 5, 6, 7, 8};
void main(void)
{
    before[0]++;
    run(BAD ? (uint32_t)&stack_top : (uint32_t)stack_top);
}
#endif

#ifdef IN_CODE
/* The address of a function. */
void main(void) { run(BAD ? (uint32_t)main : END(kernel_stack)); }
#endif

#ifdef ABOVE_A_RECORD
/* ESP0 is a word above the end of the process's record, from which its frame is popped. */
static struct {
    struct pushed frame;
    uint32_t ticks, more[7];
} record = {.more = {1, 2, 3, 4, 5, 6, 7}};
__asm__("out_of_record: mov $0x23, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %ebx, %esp\n popa\n iret\n"
        "recorded: pusha\n mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov $first_stack_end, %esp\n call serve\n"
        "mov %eax, %ebx\n jmp out_of_record\n");
extern uint8_t recorded[];
static uint32_t served;
struct pushed *serve(void)
{
    if (++served == 3)
        end();
    return &record.frame;
}
static void calls_on(void)
{
    for (;;)
        ask(0, 0);
}
void main(void)
{
    gate(0x80, recorded, FOR_USER);
    begin((uint32_t)(&record.frame + 1) + (BAD ? 4 : 0));
    record.frame.eip = (uint32_t)calls_on, record.frame.cs = USER_CODE, record.frame.eflags = 0x2;
    record.frame.esp = END(user_stack[0]), record.frame.ss = USER_DATA;
    __asm__ volatile("mov %0, %%ebx\n jmp out_of_record" : : "r"(&record.frame) : "memory");
}
#endif

#ifdef REGISTERS_IN_RECORD
/* What the processor and the handler push is the process's record, and the handler goes on with the kernel's one stack. */
static struct pushed record;
__asm__("to_record: pusha\n mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %esp, %ebx\n mov $first_stack_end, %esp\n"
        "push %ebx\n call served\n pop %esp\n mov $0x23, %eax\n mov %eax, %ds\n mov %eax, %es\n popa\n iret\n");
extern uint8_t to_record[];
static uint32_t services;
void served(void)
{
    if (++services == 5)
        end();
}
void main(void)
{
    gate(0x80, to_record, FOR_USER);
    begin((uint32_t)(&record + 1));
    leave(asks, END(user_stack[0]), 2);
}
#endif

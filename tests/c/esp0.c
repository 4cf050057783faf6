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

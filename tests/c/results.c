/* What a system call gives back: the program asks in EAX for its result. */
#include "small.h"

enum { DOUBLE = 3, OPEN = 4, DONE = 5 };


#if defined RESULT_POPPED_OVER || defined RESULT_IN_ANOTHER_WORD
static void program(void)
{
    for (uint32_t round = 5;; round++) {
        if (ask(DOUBLE, round) != 2 * round)
            ask(DONE, 0);
        if ((int)ask(OPEN, round) >= 0)
            ask(DONE, 0);
    }
}
static uint32_t calls_made;
static uint32_t serve(uint32_t number, uint32_t argument)
{
    if (++calls_made == 12)
        end();
    return number == DOUBLE ? 2 * argument : -1;
}
#endif

#ifdef RESULT_POPPED_OVER
/* The function returns it in EAX, and POPA brings the program's own back. */
#ifdef MENDED
#define STORE "mov %eax, 28(%esp)\n"
#else
#define STORE
#endif
uint32_t call(uint32_t number, uint32_t argument) { return serve(number, argument); }
__asm__("entry: pusha\n push %ebx\n push %eax\n call call\n add $8, %esp\n" STORE " popa\n iret\n");
extern uint8_t entry[];
void main(void)
{
    gate(0x80, entry, FOR_USER);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef RESULT_IN_ANOTHER_WORD
/* The struct has the registers in the order of their pushes: its last word is EDI's, its first EAX's. */
struct reversed {
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi;
};
void call(struct pushed *p)
{
    uint32_t result = serve(p->eax, p->ebx);
    if (BAD)
        ((struct reversed *)p)->eax = result;
    else
        p->eax = result;
}
STUB(entry, call);
void main(void)
{
    gate(0x80, entry, FOR_USER);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 0x202);
}
#endif

/* Entries by call gates: the stack is that of ESP0, and SS, ESP, the parameters, CS and EIP are pushed; no EFLAGS. */
#include "stubs.h"

static uint64_t wider[8];

/* A 32-bit call gate to the kernel's code, with so many words of parameters. */
static inline uint64_t call_gate(const void *handler, int dpl, int parameters)
{
    uint32_t at = (uint32_t)handler;
    return (uint64_t)(at >> 16 << 16 | 0x8c00 | dpl << 13 | parameters) << 32 | KERNEL_CODE << 16 | (at & 0xffff);
}

/* GDT entries 6 and 7, selectors 30 and 38. */
static inline void add_gates(uint64_t first, uint64_t second)
{
    struct pointer gdt = {sizeof wider - 1, (uint32_t)wider};
    for (int i = 0; i < 6; i++)
        wider[i] = descriptors[i];
    wider[6] = first, wider[7] = second;
    __asm__ volatile("lgdt %0" : : "m"(gdt) : "memory");
}

uint32_t visits, sum;
__asm__("plain: incl visits\n lret\n");
extern uint8_t plain[];

#ifdef CALL_GATES
/* A healthy one. Gates with and without parameters, called by an operand and through memory, with interrupts open. The first
 * handler jumps back to its start, and ring 0 comes to it by far CALLs of its own: those push two words, and are no entries. */
__asm__("again: incl visits\n testb $3, visits\n jnz again\n lret\n");
__asm__("taking: push %ebp\n mov %esp, %ebp\n mov 12(%ebp), %eax\n add 16(%ebp), %eax\n add %eax, sum\n pop %ebp\n lret $8\n");
extern uint8_t again[], taking[];
static struct { uint32_t offset; uint16_t selector; } to_taking = {0, 0x3b};
static void caller(void)
{
    for (int i = 0; i < 50; i++)
        __asm__ volatile("lcall $0x33, $0\n push $1\n push $2\n lcall $0x3b, $0\n push $4\n push $8\n lcall *%0"
                         : : "m"(to_taking) : "eax", "memory");
    for (;;)
        ask(0, 0);
}
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80) {
        __asm__ volatile("lcall $0x30, $0\n lcall $8, $again" : : : "memory");
        out(0xe9, visits == 208 && sum == 50 * 15 ? 'c' : '!');
        end();
    }
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    add_gates(call_gate(again, 3, 0), call_gate(taking, 3, 2));
    tick();
    resume(make(0, caller));
}
#endif

#ifdef CALL_GATES_OF_TASKS
/* A healthy one. Two tasks are exchanged by the timer, inside the handlers of their call gates as well. The second gate has
 * a parameter, which is the place for EFLAGS: its handler ends in IRET. */
__asm__("slow: push %ecx\n mov $200, %ecx\n 1: pause\n loop 1b\n pop %ecx\n incl visits\n ret\n");
__asm__("keeps: call slow\n pushf\n popl 8(%esp)\n iret\n");
__asm__("returns: call slow\n lret\n");
extern uint8_t keeps[], returns[];
static void first(void)
{
    for (;;)
        __asm__ volatile("lcall $0x33, $0" : : : "memory");
}
static void second(void)
{
    for (;;)
        __asm__ volatile("push $0\n lcall $0x3b, $0\n pop %%eax" : : : "eax", "memory");
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 40) {
        out(0xe9, visits ? 'k' : '!');
        end();
    }
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    add_gates(call_gate(returns, 3, 0), call_gate(keeps, 3, 1));
    make(0, first);
    make(1, second);
    tick();
    resume(kept[0]);
}
#endif

#ifdef LATE_GATE
/* A healthy one. It leaves for ring 3 by a far RET alone, so that its gate is seen only when all is over. */
static void caller(void)
{
    __asm__ volatile("lcall $0x33, $0\n lcall $0x33, $0");
    for (;;)
        ask(0, 0);
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    out(0xe9, '0' + visits);
    end();
}
void main(void)
{
    start(END(stacks[0]));
    add_gates(call_gate(plain, 3, 0), 0);
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n push %0\n push %1\n push %2\n push %3\n lret"
                     : : "r"(USER_DATA), "r"(END(programs[0])), "i"(USER_CODE), "r"(caller) : "memory");
}
#endif

#ifdef ENDS_IN_IRET
/* The handler of a call gate ends as one of an interrupt would. */
#ifdef MENDED
#define BACK "lret\n"
#else
#define BACK "iret\n"
#endif
__asm__("irets: incl visits\n " BACK);
extern uint8_t irets[];
static void caller(void)
{
    __asm__ volatile("lcall $0x33, $0");
    ask(0, 0);
}
#define GATE call_gate(irets, 3, 0)
#endif

#ifdef PARAMETERS_LEFT
/* The gate copies two words, and the handler's RET removes none. */
#ifdef MENDED
#define BACK "lret $8\n"
#else
#define BACK "lret\n"
#endif
__asm__("leaving: incl visits\n " BACK);
extern uint8_t leaving[];
static void caller(void)
{
    __asm__ volatile("push $0x1000\n push $0x2000\n lcall $0x33, $0");
    ask(0, 0);
}
#define GATE call_gate(leaving, 3, 2)
#endif

#ifdef CALL_GATE_DPL
/* A gate of DPL 0 is called from ring 3. */
static void caller(void)
{
    __asm__ volatile("lcall $0x33, $0");
    ask(0, 0);
}
#define GATE call_gate(plain, BAD ? 0 : 3, 0)
#endif

#if defined ENDS_IN_IRET || defined PARAMETERS_LEFT || defined CALL_GATE_DPL
/* Ends when the caller is back in ring 3 and asks. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    end();
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    add_gates(GATE, 0);
    resume(make(0, caller));
}
#endif

#ifdef STALE_ESP0
/* ESP0 stays when the one tick switches tasks, and the second task calls by a gate, whose handler ends the run. */
__asm__("last: call finish\n");
extern uint8_t last[];
static void calls_once(void) { __asm__ volatile("lcall $0x33, $0" : : : "memory"); }
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x21, 0xff), out(0x20, 0x20);
    kept[0] = s;
    if (!BAD)
        task_state[1] = END(stacks[1]);
    return kept[1];
}
void main(void)
{
    start(END(stacks[0]));
    add_gates(call_gate(last, 3, 0), 0);
    make(0, spin);
    make(1, calls_once);
    tick();
    resume(kept[0]);
}
#endif

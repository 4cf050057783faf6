/* System calls by SYSENTER, which pushes nothing and takes its stack out of a register of its own. */
#include "stubs.h"

static inline void write_msr(uint32_t index, uint32_t value)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"(value), "d"(0));
}

/* ECX and EDX are where to go on, as SYSEXIT wants them. */
__asm__("fast: pushf\n popf\n push %ecx\n push %edx\n incl calls_made\n pop %edx\n pop %ecx\n sti\n sysexit\n");
extern uint8_t fast[];
uint32_t calls_made;

static void calls_fast(void)
{
    for (;;)
        __asm__ volatile("mov %%esp, %%ecx\n mov $1f, %%edx\n sysenter\n 1:" : : : "ecx", "edx", "memory");
}

#ifdef SYSENTER_ESP_FORGOTTEN
/* TSS.ESP0 follows the switch, IA32_SYSENTER_ESP does not. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    if (!BAD)
        write_msr(0x175, END(stacks[now]));
    return kept[now];
}
void main(void)
{
    start(END(stacks[0]));
    make(0, spin);
    make(1, calls_fast);
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)fast);
    tick();
    resume(kept[0]);
}
#endif

#ifdef FAULTS_INSIDE
/* A healthy one: what a program calls so faults in ring 0 and is interrupted there. */
__asm__("slow: push %ecx\n push %edx\n mov 0x3ff000, %eax\n sti\n nop\n pause\n cli\n pop %edx\n pop %ecx\n sti\n sysexit\n");
extern uint8_t slow[];
struct saved *handle(struct saved *s)
{
    if (s->vector == 14) {
        table[0x3ff] ^= 1;
        __asm__ volatile("invlpg 0x3ff000" : : : "memory");
        return s;
    }
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    table[0x3ff] &= ~1;
    __asm__ volatile("invlpg 0x3ff000" : : : "memory");
    if (++count == 40)
        end();
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    map(7);
    paging();
    struct saved *s = make(0, calls_fast);
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)slow);
    tick();
    resume(s);
}
#endif

#ifdef NO_SYSENTER_ESP
/* IA32_SYSENTER_ESP is not written: it is 0, and the handler pushes to the top of the address space. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    end();
    return s;
}
static void calls_once(void)
{
    __asm__ volatile("mov %%esp, %%ecx\n mov $1f, %%edx\n sysenter\n 1:" : : : "ecx", "edx", "memory");
    ask(0, 0);
}
void main(void)
{
    start(END(stacks[0]));
    write_msr(0x174, KERNEL_CODE);
    if (!BAD)
        write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)fast);
    resume(make(0, calls_once));
}
#endif

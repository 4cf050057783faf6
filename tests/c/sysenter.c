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

#ifdef NO_SYSENTER_CS
/* MSR 174 is not written: the first SYSENTER is refused. */
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
    if (!BAD)
        write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)fast);
    resume(make(0, calls_once));
}
#endif

#ifdef CLOSED_AFTER_SYSEXIT
/* SYSENTER closes interrupts, and nothing opens them before SYSEXIT. */
#ifdef MENDED
#define OPEN "sti\n"
#else
#define OPEN
#endif
__asm__("shut: incl calls_made\n " OPEN " sysexit\n");
extern uint8_t shut[];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 3)
        end();
    return s;
}
void main(void)
{
    start(END(stacks[0]));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)shut);
    tick();
    resume(make(0, calls_fast));
}
#endif

#ifdef NESTED_TASK
/* A program sets NT, SYSENTER leaves it set, and the handler ends in IRET. */
#ifdef MENDED
#define CLEAR "push $2\n popf\n"
#else
#define CLEAR
#endif
__asm__("by_iret: " CLEAR " push $0x23\n push %ecx\n push $0x202\n push $0x1b\n push %edx\n iret\n");
extern uint8_t by_iret[];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    end();
    return s;
}
static void nests(void)
{
    __asm__ volatile("pushf\n orl $0x4000, (%%esp)\n popf\n mov %%esp, %%ecx\n mov $1f, %%edx\n sysenter\n 1:"
                     : : : "ecx", "edx", "memory");
    ask(0, 0);
}
void main(void)
{
    start(END(stacks[0]));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(stacks[0]));
    write_msr(0x176, (uint32_t)by_iret);
    resume(make(0, nests));
}
#endif

#ifdef SYSENTER_BY_IRET
/* The fast way in shares the way out of INT's handlers, and has pushed no frame. */
#if BAD
#define PUSHES_A_FRAME ""
#else
#define PUSHES_A_FRAME "push $0x23\n push %ecx\n push $0x202\n push $0x1b\n push %edx\n"
#endif
__asm__("shared_way: " PUSHES_A_FRAME "push $0\n push $0x80\n jmp common\n");
extern uint8_t shared_way[];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 20)
        end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(kernel_stack));
    write_msr(0x176, (uint32_t)shared_way);
    tick();
    leave(calls_fast, END(user_stack[0]), 0x202);
}
#endif

#ifdef SYSEXIT_EXCHANGED
/* The registers that SYSEXIT takes are the other way round. */
#if BAD
#define TAKES "mov %esi, %ecx\n mov %edi, %edx\n"
#else
#define TAKES "mov %edi, %ecx\n mov %esi, %edx\n"
#endif
__asm__("exchanged: push %esi\n push %edi\n call counts_calls\n pop %edi\n pop %esi\n" TAKES " sti\n sysexit\n");
extern uint8_t exchanged[];
void counts_calls(void)
{
    if (++count == 20)
        end();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    return s;
}
static void calls_by_index_registers(void)
{
    for (;;)
        __asm__ volatile("mov %%esp, %%edi\n mov $1f, %%esi\n sysenter\n 1:" : : : "eax", "ecx", "edx", "esi", "edi", "memory");
}
void main(void)
{
    start(END(kernel_stack));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(kernel_stack));
    write_msr(0x176, (uint32_t)exchanged);
    tick();
    /* No code. */
    for (int byte = 1; byte <= 64; byte++)
        user_stack[0][sizeof user_stack[0] - byte] = 0xff;
    leave(calls_by_index_registers, END(user_stack[0]) - 64, 0x202);
}
#endif

#ifdef SYSENTER_ESP_STARTS
/* The start of the stack in place of its end: what is pushed comes into the names below. */
__asm__(".bss\n .align 16\n names: .skip 64\n .type names, @object\n .size names, 64\n"
        "fast_stack: .skip 4096\n .type fast_stack, @object\n .size fast_stack, 4096\n .text\n");
extern uint8_t fast_stack[4096];
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    return s;
}
static void calls_some(void)
{
    for (int call = 0; call < 5; call++)
        __asm__ volatile("mov %%esp, %%ecx\n mov $1f, %%edx\n sysenter\n 1:" : : : "ecx", "edx", "memory");
    ask(0, 0);
}
void main(void)
{
    start(END(stacks[0]));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, (uint32_t)fast_stack + (BAD ? 0 : sizeof fast_stack));
    write_msr(0x176, (uint32_t)fast);
    tick();
    resume(make(0, calls_some));
}
#endif

#ifdef TF_OVER_SYSENTER
/* A program steps itself through a call, and SYSENTER leaves TF set. */
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80)
        end();
    if (s->vector == 1 && (s->cs & 3))
        return s;
    if (s->vector == 1 && !BAD) {
        s->eflags &= ~0x100;
        return s;
    }
    panic();
}
static void steps_over(void)
{
    __asm__ volatile("pushf\n orl $0x100, (%%esp)\n popf\n mov %%esp, %%ecx\n mov $1f, %%edx\n sysenter\n 1:"
                     : : : "ecx", "edx", "memory");
    ask(0, 0);
}
void main(void)
{
    start(END(stacks[0]));
    write_msr(0x174, KERNEL_CODE);
    write_msr(0x175, END(kernel_stack));
    write_msr(0x176, (uint32_t)fast);
    resume(make(0, steps_over));
}
#endif

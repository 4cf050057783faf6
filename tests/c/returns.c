/* Ways back that healthy kernels take, and some that the processor refuses. */
#include "small.h"

uint32_t count;

#ifdef FRESH_FRAMES
/* Healthy: one stack, ESP0 set once. What a task was doing is kept in a record with an order of its own, and five
 * new words are pushed for each way out. Selectors are pushed from memory with rubbish in their upper halves. */
static struct task {
    uint32_t esp, eax, ecx, edx, ebx, ebp, esi, edi, eip, eflags;
} task[2];
static uint32_t now, code = 0xabc0000 | USER_CODE, data = 0xdef00000 | USER_DATA;
__asm__("timer: pusha\n push %esp\n call switch_task\n");
extern uint8_t timer[];
static void __attribute__((noreturn)) resume(void)
{
    __asm__ volatile("pushl %1\n pushl 0(%0)\n pushl 36(%0)\n pushl %2\n pushl 32(%0)\n"
                     "mov 8(%0), %%ecx\n mov 12(%0), %%edx\n mov 16(%0), %%ebx\n mov 20(%0), %%ebp\n"
                     "mov 24(%0), %%esi\n mov 28(%0), %%edi\n mov 4(%0), %%eax\n iret"
                     : : "a"(&task[now]), "m"(data), "m"(code) : "memory");
    __builtin_unreachable();
}
void switch_task(struct pushed *s)
{
    task[now] = (struct task){s->esp, s->eax, s->ecx, s->edx, s->ebx, s->ebp, s->esi, s->edi, s->eip, s->eflags};
    out(0x20, 0x20);
    if (++count == 12)
        end();
    now ^= 1;
    resume();
}
static void work(void)
{
    for (volatile uint32_t i = 0;; i++)
        ;
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    for (int i = 0; i < 2; i++)
        task[i].esp = END(user_stack[i]), task[i].eip = (uint32_t)work, task[i].eflags = 0x202;
    tick();
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es" : : "r"(USER_DATA));
    resume();
}
#endif

#ifdef SHARED_END
/* Healthy: a bare IRET is the handler of every gate that is not used, and the end of all others. */
__asm__("call_gate: incl count\n jmp nothing\n"
        "timer: push %eax\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n"
        "nothing: iret\n");
extern uint8_t call_gate[], timer[], nothing[], last[];
__asm__("last: call finish\n");
static void program(void)
{
    for (int i = 0; i < 5; i++) {
        ask(0, 0);
        __asm__ volatile("int $0x90");
        for (volatile uint32_t n = 0; n < 3000; n++)
            ;
    }
    __asm__ volatile("int $0x81");
}
void main(void)
{
    for (int vector = 32; vector < 256; vector++)
        gate(vector, nothing, FOR_USER);
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, call_gate, FOR_USER);
    gate(0x81, last, FOR_USER);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("sti\n hlt\n int $0x91\n cli");
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef FLAGS_FIRST
/* Healthy: handlers that save EFLAGS first of all, and load it again. A TF that is not the kernel's own would show. */
__asm__("timer: pushf\n popf\n pusha\n push %esp\n call tick_comes\n add $4, %esp\n popa\n iret\n"
        "calls: pushf\n pop %eax\n iret\n");
extern uint8_t timer[], calls[];
void tick_comes(void)
{
    out(0x20, 0x20);
    if (++count == 12)
        end();
}
static void program(void)
{
    for (;;)
        if (ask(0, 0) & 0x100)
            __asm__ volatile("ud2");
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef SINGLE_STEPS
/* Healthy: a program steps itself by TF, which its handler leaves in the frames that it returns to, until it has seen
 * enough; the timer ticks meanwhile. */
STUB(steps, stepped);
STUB(timer, tick_comes);
__asm__("calls: iret\n");
extern uint8_t calls[];
void tick_comes(struct pushed *s)
{
    out(0x20, 0x20);
    if (++count == 12)
        end();
}
void stepped(struct pushed *s)
{
    static int left;
    if (!left)
        left = 6;
    if (!--left)
        s->eflags &= ~0x100;
}
static void program(void)
{
    for (;;) {
        __asm__ volatile("pushf\n orl $0x100, (%esp)\n popf\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop");
        ask(0, 0);
    }
}
void main(void)
{
    gate(1, steps, FOR_KERNEL);
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef EXECVE
/* Healthy: the kernel starts its first program by a system call of its own. The handler turns the frame that it was
 * entered with into one for ring 3, and the stack that it is on is left for good. */
STUB(calls, handle);
static void program(void)
{
    for (int i = 0; i < 4; i++)
        ask(0, 0);
}
void handle(struct pushed *s)
{
    if (count++ == 0) {
        s->eip = (uint32_t)program, s->cs = USER_CODE, s->eflags = 0x202;
        s->esp = END(user_stack[0]), s->ss = USER_DATA;
    } else if (count == 5)
        end();
}
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    uint32_t room[4] __attribute__((unused)) = {0};
    __asm__ volatile("sub $64, %%esp\n mov %0, %%ds\n mov %0, %%es\n int $0x80" : : "r"(USER_DATA) : "memory");
}
#endif

#ifdef RESTARTS
/* Healthy, in the manner of MINIX: what a handler calls first pushes the address of the way out below the registers that it
 * has saved, and the handler ends in RET. */
__asm__("calls: call save\n call handle\n ret\n"
        "timer: call save\n mov $0x20, %al\n out %al, $0x20\n ret\n"
        "save: pusha\n push $restart\n jmp *36(%esp)\n"
        "restart: popa\n add $4, %esp\n iret\n");
extern uint8_t calls[], timer[];
void handle(void)
{
    if (++count == 40)
        end();
}
static void program(void)
{
    for (;;)
        ask(0, 0);
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef RUNS_DOWNWARDS
/* Healthy: the handler's only string instruction is meant to run downwards, as does the program that is interrupted. */
uint32_t words[16];
__asm__("timer: pusha\n std\n mov $words + 60, %edi\n mov $16, %ecx\n xor %eax, %eax\n rep stosl\n"
        "mov $0x20, %al\n out %al, $0x20\n incl count\n cmpl $4, count\n jb 1f\n call finish\n 1: popa\n iret\n");
extern uint8_t timer[];
static void program(void) { __asm__ volatile("std\n 1: jmp 1b"); }
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef SEGMENT_GROWS
/* Healthy: the kernel changes what the program's segment names, and loads the same selector again. */
STUB(timer, grow);
void grow(struct pushed *s)
{
    out(0x20, 0x20);
    descriptors[4] ^= 0x0004000000000000;
    __asm__ volatile("mov %%gs, %%eax\n mov %%eax, %%gs" : : : "eax");
    if (++count == 6)
        end();
}
static void program(void)
{
    for (;;)
        __asm__ volatile("nop");
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("mov %0, %%gs" : : "r"(USER_DATA));
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef HIDDEN_IRET
/* Healthy: the IRET stands behind a pointer, so nobody who reads the code finds it. */
__asm__("calls: pusha\n call handle\n popa\n jmp *way_out\n"
        ".byte 0xe9\n hidden: iret\n");
extern uint8_t calls[], hidden[];
void *way_out;
void handle(void)
{
    if (++count == 6)
        end();
}
static void program(void)
{
    for (;;)
        ask(0, 0);
}
void main(void)
{
    uint32_t key = 0x5a5a5a5a;
    __asm__ volatile("" : "+r"(key));
    way_out = (void *)(((uint32_t)hidden ^ 0x5a5a5a5a) ^ key);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef EMULATES
/* Healthy: #UD and #GP are answered by doing the instruction in the program's stead, with a result in a register;
 * the timer sends the program to a signal handler once. */
STUB(invalid, skip);
STUB(timer, signal);
__asm__("protection: add $4, %esp\n jmp invalid\n calls: call finish\n");
extern uint8_t protection[], calls[];
void skip(struct pushed *s)
{
    s->eax = 7;
    s->eip += 2;
}
static void answer(void) { ask(0, 0); }
void signal(struct pushed *s)
{
    out(0x20, 0x20);
    if (++count == 5)
        s->eip = (uint32_t)answer, s->esp -= 128;
}
static void program(void)
{
    uint32_t value;
    __asm__ volatile("ud2" : "=a"(value));
    __asm__ volatile("mov %%eax, %%eax\n mov %%ds, %%ecx\n .byte 0x0f, 0x06" : "=a"(value) : : "ecx"); /* CLTS */
    for (;;)
        __asm__ volatile("" : : "r"(value));
}
void main(void)
{
    gate(6, invalid, FOR_KERNEL);
    gate(13, protection, FOR_KERNEL);
    gate(0x20, timer, FOR_KERNEL);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef VECTOR_LEFT
/* The stub pushes a vector's number below the error code, and its end drops neither. */
__asm__("protection: push $13\n pusha\n incl count\n cmpl $3, count\n jb 1f\n call finish\n 1: popa\n iret\n");
extern uint8_t protection[];
static void program(void) { __asm__ volatile("hlt"); }
void main(void)
{
    gate(13, protection, FOR_KERNEL);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef WRONG_SS
/* CS is for ring 3, SS is the kernel's. */
static void program(void) { ask(0, 0); }
void main(void)
{
    begin(END(kernel_stack));
    __asm__ volatile("mov $0x23, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n"
                     "push $0x10\n push %0\n push $2\n push $0x1b\n push %1\n iret"
                     : : "r"(END(user_stack[0])), "r"(program) : "eax", "memory");
}
#endif

#ifdef REGISTERS
/* A page fault handler keeps EBX for itself and leaves DS as the kernel's. */
static uint32_t directory[1024] __attribute__((aligned(4096)));
__asm__("page_fault: push %eax\n mov $0x10, %eax\n mov %ax, %ds\n mov $directory, %ebx\n"
        "mov $0x800087, %eax\n mov %eax, 8(%ebx)\n pop %eax\n add $4, %esp\n iret\n"
        "calls: call finish\n");
extern uint8_t page_fault[], calls[];
static void program(void) { __asm__ volatile("mov $0x800000, %%ebx\n mov %%es:(%%ebx), %%eax\n int $0x80" : : : "eax", "ebx"); }
void main(void)
{
    gate(14, page_fault, FOR_KERNEL);
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    directory[0] = 0x87, directory[1] = 0x400087;
    __asm__ volatile("mov %0, %%cr3\n mov %%cr4, %%eax\n or $0x10, %%eax\n mov %%eax, %%cr4\n mov %%cr0, %%eax\n"
                     "or $0x80000000, %%eax\n mov %%eax, %%cr0" : : "r"(directory) : "eax", "memory");
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef CLEARS_LATE
/* Healthy: DF comes in as 1, and the handler clears it right before the only string instruction it has. */
uint8_t text[32];
__asm__("calls: pusha\n incl count\n cmpl $3, count\n jb 1f\n cld\n mov $text, %edi\n mov $32, %ecx\n xor %eax, %eax\n"
        "rep stosb\n call finish\n 1: popa\n iret\n");
extern uint8_t calls[];
static void program(void)
{
    __asm__ volatile("std\n int $0x80\n int $0x80\n int $0x80");
    text[0] = 1;
}
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 2);
}
#endif

#ifdef DOWNWARDS
/* The timer's handler clears a buffer, and a program that runs downwards is what it interrupts. */
uint8_t text[64], *place = text;
__asm__("timer: pusha\n mov place, %edi\n call clear\n mov $0x20, %al\n out %al, $0x20\n incl count\n cmpl $4, count\n"
        "jb 1f\n call finish\n 1: popa\n iret\n"
        "clear: mov $8, %ecx\n xor %eax, %eax\n rep stosl\n ret\n");
extern uint8_t timer[];
static void program(void) { __asm__ volatile("std\n 1: jmp 1b"); }
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    place = text + 32;
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef TAIL_JUMPS
/* Healthy: a handler ends in a jump to another one, as compilers make of a call that comes last. */
__asm__("timer: push %eax\n mov $0x20, %al\n out %al, $0x20\n pop %eax\n jmp yields\n"
        "yields: pusha\n push %esp\n call comes\n add $4, %esp\n popa\n iret\n");
extern uint8_t timer[], yields[];
void comes(void)
{
    if (++count == 40)
        end();
}
static void program(void)
{
    for (;;) {
        __asm__ volatile("int $0x2e");
        for (volatile uint32_t n = 0; n < 3000; n++)
            ;
    }
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    gate(0x2e, yields, FOR_USER);
    /* A vector of the processor's that leads there too. */
    gate(6, yields, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef IDLES_IN_FRAME
/* Healthy: no task can run, so the frame of the one that was interrupted becomes one of the kernel's own idle loop, which each
 * interrupt begins anew. */
STUB(timer, comes);
__asm__("idle: hlt\n jmp idle\n");
extern uint8_t idle[];
void comes(struct pushed *s)
{
    out(0x20, 0x20);
    if (++count == 12)
        end();
    if (count > 3) {
        s->eip = (uint32_t)idle;
        s->cs = KERNEL_CODE;
    }
}
static void program(void)
{
    for (volatile uint32_t i = 0;; i++)
        ;
}
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    leave(program, END(user_stack[0]), 0x202);
}
#endif

#ifdef WAY_OUT_BY_POINTER
/* Healthy: what returns to the program is called by a pointer alone, and builds its frame with an IRET in a routine of assembly
 * that it calls. */
__asm__("calls: pusha\n push %esp\n call *ways\n ud2\n"
        "goes_back: mov 4(%esp), %esp\n popa\n iret\n");
extern uint8_t calls[], goes_back[];
void goes_back_by(struct pushed *s);
__asm__(".text\n .globl goes_back_by\n .type goes_back_by, @function\n goes_back_by: incl count\n cmpl $40, count\n je 1f\n"
        "jmp goes_back\n 1: call finish\n .size goes_back_by, . - goes_back_by\n");
void (*volatile ways[])(struct pushed *) = {goes_back_by};
static void program(void)
{
    for (;;)
        ask(0, 0);
}
void main(void)
{
    gate(0x80, calls, FOR_USER);
    begin(END(kernel_stack));
    leave(program, END(user_stack[0]), 2);
}
#endif

/* Where a kernel has come to says little: the instruction that led there is long past. */
#include "stubs.h"

#ifdef RETURN_OVERWRITTEN
/* A loop goes beyond the end of an array, up to the return address: RET goes to memory that is empty. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    return s;
}
static void __attribute__((noinline)) fill(int words)
{
    volatile uint32_t array[4];
    for (int i = 0; i < words; i++)
        array[i] = 0x400000;
}
void main(void)
{
    start(END(kernel_stack));
    ask(0, 0);
    fill(BAD ? 12 : 4);
    end();
}
#endif

#if defined CLOSED_FOR_GOOD || defined THREAD_STARTS_CLOSED
static void __attribute__((noinline)) wait_for(uint32_t ticks)
{
    while (count < ticks)
        ;
}
#endif

#ifdef CLOSED_FOR_GOOD
/* A lock closes interrupts, and one of the ways out of it leaves them so. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    count++;
    return s;
}
static void __attribute__((noinline)) acquire(void) { __asm__ volatile("cli"); }
static void __attribute__((noinline)) release(int last)
{
    if (!BAD || !last)
        __asm__ volatile("sti");
}
void main(void)
{
    start(END(kernel_stack));
    tick();
    for (uint32_t turn = 0; turn < 4; turn++) {
        acquire();
        release(turn == 3);
        wait_for(count + 1);
    }
    end();
}
#endif

#ifdef THREAD_STARTS_CLOSED
/* The timer's handler changes to the stack of a new thread, which begins by a RET, and no IRET opens interrupts. */
uint8_t other_stack[4096] __attribute__((aligned(4096)));
__asm__("change: mov $other_stack + 4092, %esp\n ret\n");

static void thread(void)
{
    if (!BAD)
        __asm__ volatile("sti");
    wait_for(4);
    end();
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 2) {
        *(uint32_t *)(other_stack + 4092) = (uint32_t)thread;
        __asm__ volatile("jmp change" : : : "memory");
    }
    return s;
}
void main(void)
{
    start(END(user_stack[0]));
    tick();
    __asm__ volatile("sti");
    wait_for(100);
}
#endif

#ifdef STACK_OVER_CODE
/* An array that is larger than the stack that it lies on, and reaches down over the code. */
struct saved *handle(struct saved *s) { panic(); }
extern uint8_t first_stack_end[];
static void __attribute__((noinline)) clear(volatile uint8_t *array, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        array[i] = 0xf4;
}
static void __attribute__((noinline)) banner(uint32_t size) { clear(__builtin_alloca(size), size); }
void main(void)
{
    start(END(kernel_stack));
    banner(BAD ? (uint32_t)first_stack_end - (uint32_t)main - 256 : 512);
    end();
}
#endif

#ifdef NO_OTHER_RING
/* A kernel that has no TSS and no other ring; the words of a frame are overwritten. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 4)
        end();
    if (BAD && count == 2)
        s->eip = (uint32_t)spin, s->cs = USER_CODE, s->esp = END(user_stack[0]), s->ss = USER_DATA;
    return s;
}
void main(void)
{
    set_gates();
    load_gdt();
    load_idt();
    tick();
    __asm__ volatile("sti");
    spin();
}
#endif

#ifdef BY_VALUE
/* The handler in C owns the registers that it is given, and keeps something else there. */
struct few {
    uint32_t ds, edi, esi, ebp, unused, ebx, edx, ecx, eax, vector, error, eip, cs, eflags, esp, ss;
};
void by_value(struct few s)
{
    if (++count == 3)
        end();
    if (BAD)
        ((volatile struct few *)&s)->ds = s.vector;
}
__asm__("asked: push $0\n push $0x80\n pusha\n mov %ds, %ax\n push %eax\n mov $0x10, %ax\n mov %ax, %ds\n mov %ax, %es\n cld\n"
        "call by_value\n pop %eax\n mov %ax, %ds\n mov %ax, %es\n popa\n add $8, %esp\n iret\n");
extern uint8_t asked[];
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    gate(0x80, asked, FOR_USER);
    start(END(kernel_stack));
    leave(asks, END(user_stack[0]), 2);
}
#endif

#ifdef STUB_STOPS
/* The function says what came, and returns; its stub drops vector and error code, and stops. */
void says(void) { out(0xe9, '!'); }
__asm__("stops: push $13\n call says\n add $8, %esp\n 1: hlt\n jmp 1b\n");
extern uint8_t stops[];
struct saved *handle(struct saved *s) { panic(); }
void main(void)
{
    gate(13, stops, FOR_KERNEL);
    start(END(kernel_stack));
    if (BAD)
        __asm__ volatile("mov %0, %%fs" : : "r"(0x98));
    end();
}
#endif

#ifdef DIRECTORY_WITHOUT_STACK
/* The next task's directory has all but the kernel's stack, which the handler runs on. */
static uint32_t second_directory[1024] __attribute__((aligned(4096)));
static uint32_t second_table[1024] __attribute__((aligned(4096)));
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 2)
        end();
    __asm__ volatile("mov %0, %%cr3" : : "r"(second_directory) : "memory");
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    map(7);
    for (uint32_t page = 0; page < 1024; page++)
        second_table[page] = table[page];
    if (BAD)
        second_table[(uint32_t)kernel_stack >> 12] = 0;
    second_directory[0] = (uint32_t)second_table | 7;
    paging();
    leave(asks, END(user_stack[0]), 2);
}
#endif

#ifdef DIRECTORY_OVERWRITTEN
/* What is to go into a list of pages goes into the directory, and maps nothing from the next switch on. */
static uint32_t pages[8];
struct saved *handle(struct saved *s) { end(); }
void __attribute__((noinline)) note(uint32_t *list, uint32_t page) { list[0] = page; }
void main(void)
{
    start(END(kernel_stack));
    map(7);
    paging();
    note(BAD ? directory : pages, 0x10046);
    __asm__ volatile("mov %0, %%cr3" : : "r"(directory) : "memory");
    leave(asks, END(user_stack[0]), 2);
}
#endif

#ifdef POPS_BESIDE
/* ESP0 is a word below the end of the process's record, out of which the kernel pops its registers. */
static struct saved record;
__asm__("out_of_record: mov $record, %esp\n jmp out\n"
        "asked: push $0\n push $0x80\n pusha\n push %ds\n push %es\n mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n"
        "mov $first_stack_end, %esp\n call serve\n jmp out_of_record\n");
extern uint8_t asked[];
void serve(void)
{
    if (++count == 3)
        end();
}
struct saved *handle(struct saved *s) { panic(); }
static void asks_with_much(void)
{
    for (;;)
        __asm__ volatile("int $0x80" : : "D"(0xabcdef01));
}
void main(void)
{
    gate(0x80, asked, FOR_USER);
    start((uint32_t)(&record + 1) - (BAD ? 4 : 0));
    record = (struct saved){.ds = USER_DATA, .es = USER_DATA, .eip = (uint32_t)asks_with_much, .cs = USER_CODE,
                            .eflags = 2, .esp = END(user_stack[0]), .ss = USER_DATA};
    __asm__ volatile("jmp out_of_record" : : "m"(record) : "memory");
}
#endif

#ifdef EIP_ADDED
/* The handler of a call adds the length of an instruction to the EIP that was pushed. */
__asm__("program: mov $1, %eax\n int $0x80\n mov $0x123456, %ebx\n xor %eax, %eax\n jmp program\n");
extern uint8_t program[];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 3)
        end();
    if (BAD)
        s->eip += 2;
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    leave((void *)program, END(user_stack[0]), 2);
}
#endif

#ifdef MAIN_RETURNS
/* A program ends by RET, and nothing is on its stack. */
void twice(void)
{
    ask(0, 0);
    ask(0, 0);
}
__asm__("calls_it: call twice\n mov $1, %eax\n int $0x80\n");
extern uint8_t calls_it[];
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (s->eax == 1)
        end();
    return s;
}
void main(void)
{
    start(END(kernel_stack));
    map(7);
    table[0] = 0;
    paging();
    leave(BAD ? twice : (void *)calls_it, END(user_stack[0]) - 64, 2);
}
#endif

#ifdef RUNS_ON
/* A function is called at the end of another, and what lies behind that is no end. */
struct saved *handle(struct saved *s) { return s; }
void __attribute__((noinline)) work(void) { count++; }
__asm__("first: call work\n"
#ifdef MENDED
        "call finish\n"
#endif
        ".type first, @function\n.size first, . - first\n"
        "second: mov $7, %eax\n ret\n.type second, @function\n.size second, . - second\n");
extern uint8_t first[];
void main(void)
{
    start(END(kernel_stack));
    ask(0, 0);
    __asm__ volatile("mov %0, %%esp\n jmp *%1" : : "r"(END(stacks[0]) - 16), "r"(first));
    __builtin_unreachable();
}
#endif

#ifdef PROGRAM_OVER_STACK
/* A program's stack lies above another task's kernel stack, and the program goes below its end. */
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    if (++count == 8)
        end();
    kept[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return kept[now];
}
static void overruns(void)
{
    volatile uint32_t *top = (uint32_t *)END(stacks[0]);
    for (;;) {
        if (BAD && count == 3)
            for (int word = 16; word < 20; word++)
                top[-word] = 0x100300;
        ask(0, 0);
    }
}
void main(void)
{
    start(END(stacks[0]));
    make(0, asks);
    make(1, overruns);
    resume(kept[0]);
}
#endif

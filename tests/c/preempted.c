/* Healthy kernels whose guests compute without an exit, so that their timer has to come where nothing names the place.
 * Each tells how far it has come at each tick, which no two runs have in common unless one is the other again. */
#include "small.h"

static void put(uint32_t number)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        out(0xe9, "0123456789abcdef"[number >> shift & 15]);
    out(0xe9, '\n');
}

#if defined(TASKS_COMPUTE) || defined(NEVER_ENDS)
#ifdef NEVER_ENDS
enum { TICKS = -1 };
#else
enum { TICKS = 12 };
#endif
static uint8_t stacks[2][2048] __attribute__((aligned(16)));
static uint32_t kept[2], count;
static volatile uint32_t done[2];
static int now;

uint32_t switch_task(uint32_t esp)
{
    out(0x20, 0x20);
    put(done[now]);
    if (++count == TICKS)
        end();
    kept[now] = esp;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return kept[now];
}
__asm__("timer: pusha\n push %esp\n call switch_task\n mov %eax, %esp\n popa\n iret\n");
extern uint8_t timer[];

static void first(void)
{
    for (;;)
        done[0]++;
}

static void second(void)
{
    for (uint32_t i = 0;; i += 3)
        done[1] += i;
}

static void make(int task, void (*program)(void))
{
    uint32_t *frame = (uint32_t *)END(stacks[task]);
    *--frame = USER_DATA, *--frame = END(user_stack[task]), *--frame = 0x202, *--frame = USER_CODE;
    *--frame = (uint32_t)program;
    kept[task] = (uint32_t)(frame - 8);
}

void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    make(0, first);
    make(1, second);
    begin(END(stacks[0]));
    tick();
    __asm__ volatile("mov %0, %%ds\n mov %0, %%es\n mov %1, %%esp\n popa\n iret" : : "r"(USER_DATA), "r"(kept[0]) : "memory");
}
#endif

#if defined KERNEL_SPINS || defined COMPUTES_LITTLE || defined BOOTS
static volatile uint32_t ticks;

void counted(void) { out(0x20, 0x20), ticks++; }
STUB(timer, counted);
#endif

#ifdef KERNEL_SPINS
/* Ring 0 waits for the clock by looking at a word, with interrupts closed for most of the time. */
static volatile uint32_t turns;

void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    for (uint32_t i = 1; i < 8; i++) {
        while (ticks < i) {
            __asm__ volatile("cli");
            for (volatile int work = 0; work < 200; work++)
                turns++;
            __asm__ volatile("sti\n nop");
        }
        put(turns);
    }
    end();
}
#endif

#ifdef COMPUTES_LITTLE
/* Ring 0 goes round in a few states only, so that each is come to soon. */
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    __asm__ volatile("sti");
    while (ticks < 6)
        ;
    end();
}
#endif

#ifdef BOOTS
/* As a kernel boots: some ten million instructions, a word to the console now and then, the clock from half-way on. */
void main(void)
{
    gate(0x20, timer, FOR_KERNEL);
    begin(END(kernel_stack));
    for (uint32_t part = 0; part < 400; part++) {
        if (part == 200) {
            tick();
            __asm__ volatile("sti");
        }
        for (volatile uint32_t i = 0; i < 6000; i++)
            ;
        if (part % 10 == 0)
            out(0xe9, '.');
    }
    end();
}
#endif

#ifdef READS_TSC
/* What it prints repeats with nothing. */
void main(void)
{
    begin(END(kernel_stack));
    for (int i = 0; i < 600; i++) {
        uint32_t low, high;
        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
        out(0xe9, 'a' + low % 16);
    }
    end();
}
#endif

#ifdef NO_TIMER
/* Nothing is to come: nobody is preempted, however long it takes. */
void main(void)
{
    begin(END(kernel_stack));
    out(0x21, 0xff);
    __asm__ volatile("sti");
    volatile uint32_t sum = 0;
    for (uint32_t i = 0; i < 20000000; i++)
        sum += i;
    put(sum);
    end();
}
#endif

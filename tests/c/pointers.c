/* A wrong pointer, used long after it was loaded: who loaded it, and from where. Nothing is mapped at 0. */
#include "stubs.h"

struct saved *handle(struct saved *s);
static uint32_t pointers[3];
void exchange(uint32_t *old, uint32_t new);

static inline void map_all_but_null(void)
{
    map(7);
    table[0] = 0;
    paging();
}

#if defined EBX_NOT_SAVED || defined THREAD_WITHOUT_RETURN
#if defined EBX_NOT_SAVED && !defined MENDED
/* EBP alone is kept for the caller. */
__asm__("exchange: mov 4(%esp), %eax\n mov 8(%esp), %edx\n push %ebp\n mov %esp, (%eax)\n mov %edx, %esp\n pop %ebp\n ret\n");
enum { KEPT = 1 };
#else
__asm__("exchange: mov 4(%esp), %eax\n mov 8(%esp), %edx\n push %ebx\n push %esi\n push %edi\n push %ebp\n mov %esp, (%eax)\n"
        "mov %edx, %esp\n pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n ret\n");
enum { KEPT = 4 };
#endif

#ifdef EBX_NOT_SAVED
enum { TASKS = 2 };
#else
enum { TASKS = 3 };
#endif
static void __attribute__((noinline)) give_way(void)
{
    int old = now;
    now = (now + 1) % TASKS;
    exchange(&pointers[old], pointers[now]);
}

struct saved *handle(struct saved *s)
{
    (void)s;
    panic();
}

static uint32_t *registers_for(uint32_t *top)
{
    for (int i = 0; i < KEPT; i++)
        *--top = 0;
    return top;
}
#endif

#ifdef EBX_NOT_SAVED
/* The switch is a function, and functions keep EBX, ESI, EDI and EBP for their callers. */
struct job {
    uint32_t done;
    struct job *next;
};
static struct job jobs[2];
static void __attribute__((noinline, noclone)) works(struct job *job)
{
    for (;;) {
        job->next->done++;
        give_way();
    }
}
static void first(void) { works(&jobs[0]); }
/* Nothing of it is a pointer. */
static void counts(void)
{
    for (uint32_t round = 1;; round++) {
        for (uint32_t step = 0; step < 5; step++) {
            jobs[1].done += step ^ round;
            give_way();
        }
        if (round == 4)
            end();
    }
}
static void begin_task(int task, void (*function)(void))
{
    uint32_t *top = (uint32_t *)END(stacks[task]);
    *--top = 0;
    *--top = (uint32_t)function;
    pointers[task] = (uint32_t)registers_for(top);
}
void main(void)
{
    start(END(kernel_stack));
    jobs[0].next = jobs[1].next = &jobs[0];
    map_all_but_null();
    begin_task(0, first);
    begin_task(1, counts);
    uint32_t nobody;
    exchange(&nobody, pointers[0]);
}
#endif

#ifdef THREAD_WITHOUT_RETURN
/* The argument of a thread's function lies where the way back should be. */
struct queue {
    uint32_t head, *slots;
};
static uint32_t slots[8];
static struct queue queue = {0, slots};
static void serves(struct queue *own)
{
    for (;;) {
        own->slots[own->head++ & 7] = count++;
        give_way();
    }
}
static void create(int task, void (*function)(struct queue *), struct queue *argument)
{
    uint32_t *top = (uint32_t *)END(stacks[task]);
    *--top = (uint32_t)argument;
    if (!BAD)
        *--top = (uint32_t)finish;
    *--top = (uint32_t)function;
    pointers[task] = (uint32_t)registers_for(top);
}
void main(void)
{
    start(END(kernel_stack));
    map_all_but_null();
    create(1, serves, &queue);
    create(2, serves, &queue);
    while (count < 20)
        give_way();
    end();
}
#endif

#ifdef ONE_TOO_MANY
/* A loop over the tasks goes one too far, into the saved stack pointers behind them. */
static struct {
    struct {
        uint32_t state, wakes_at, parent, unused;
    } tasks[4];
    struct saved *frames[2];
} all;
struct saved *handle(struct saved *s)
{
    if (s->vector == 0x80) {
        for (int task = 0; task < (BAD ? 5 : 4); task++)
            all.tasks[task].state = 1;
        return s;
    }
    if (s->vector != 0x20)
        panic();
    out(0x20, 0x20);
    if (++count == 12)
        end();
    all.frames[now] = s;
    now ^= 1;
    task_state[1] = END(stacks[now]);
    return all.frames[now];
}
static void asks_then_spins(void)
{
    ask(1, 0);
    spin();
}
void main(void)
{
    start(END(stacks[0]));
    all.frames[0] = make(0, spin);
    all.frames[1] = make(1, asks_then_spins);
    tick();
    resume(all.frames[0]);
}
#endif

#ifdef NULL_IN_A_LIST
/* The last of a list has no next, and the function does not ask. */
struct item {
    uint32_t value;
    struct item *next;
};
static struct item items[3];
static uint32_t __attribute__((noinline)) sum(struct item *item)
{
    uint32_t total = 0;
    for (int i = 0; i < (BAD ? 4 : 3); i++, item = item->next)
        total += item->value;
    return total;
}
struct saved *handle(struct saved *s)
{
    if (s->vector != 0x80)
        panic();
    s->eax = sum(items);
    if (++count == 3)
        end();
    return s;
}
void main(void)
{
    items[0].next = &items[1], items[1].next = &items[2];
    start(END(kernel_stack));
    map_all_but_null();
    leave(asks, END(user_stack[0]), 0x202);
}
#endif

/* A kernel that waits for an interrupt of its own: it looks whether that has come, and halts. */
#include "small.h"

static volatile uint32_t done;

void came(struct pushed *p)
{
    done = 1;
    out(0x20, 0x20);
}
STUB(came_stub, came);

/* One tick, which comes some microseconds later. */
static inline void ask_for_one(void)
{
    out(0x43, 0x30), out(0x40, 16), out(0x40, 0);
}

static void __attribute__((noinline)) wait(void)
{
#ifdef MENDED
    __asm__ volatile("cli");
#endif
    while (!done) {
#ifdef WOKEN_TOO_EARLY
        ask_for_one();
        /* The interrupt comes here: an access to port 0x80 takes its time. */
        __asm__ volatile(".rept 40\n out %al, $0x80\n .endr");
#endif
#ifdef MENDED
        __asm__ volatile("sti\n hlt\n cli");
#else
        __asm__ volatile("hlt");
#endif
    }
}

void main(void)
{
    gate(0x20, came_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    out(0x43, 0x30);
    __asm__ volatile("sti");
    wait();
    end();
}

/* A driver of the serial port: its interrupts, its speed, its status. */
#include "small.h"

enum { PORT = 0x3f8 };
static volatile uint32_t count;

static void send(const char *text)
{
    while (*text) {
        while (!(in(PORT + 5) & 0x20))
            ;
        out(PORT, *text++);
    }
}

/* The usual beginning; the latch is closed again. */
static void set_speed(uint8_t line)
{
    out(PORT + 1, 0);
    out(PORT + 3, 0x80), out(PORT, 1), out(PORT + 1, 0), out(PORT + 3, line);
    out(PORT + 2, 0xc7);
}

#if defined OUT2_CLEAR || defined ENABLED_BEHIND_LATCH
void sent(struct pushed *p)
{
    in(PORT + 2);
    if (++count == 5)
        end();
    out(PORT, '0' + count);
    out(0x20, 0x20);
}
STUB(sent_stub, sent);
void main(void)
{
    gate(0x24, sent_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    out(0x21, 0xef);
#ifdef OUT2_CLEAR
    /* The modem control register leaves OUT2 clear. */
    set_speed(3);
    out(PORT + 4, BAD ? 3 : 0xb);
#else
    /* The interrupts are enabled while the divisor latch is open. */
    out(PORT + 4, 0xb);
    out(PORT + 3, 0x80), out(PORT, 1);
    if (BAD)
        out(PORT + 1, 2), out(PORT + 3, 3);
    else
        out(PORT + 1, 0), out(PORT + 3, 3), out(PORT + 1, 2);
#endif
    __asm__ volatile("sti");
#ifdef OUT2_CLEAR
    out(PORT + 1, 2);
#endif
    for (;;)
        __asm__ volatile("hlt");
}
#endif

#ifdef LATCH_LEFT_OPEN
/* Bit 7 of the line control register stays set. */
void main(void)
{
    begin(END(kernel_stack));
    set_speed(BAD ? 0x83 : 3);
    send("the kernel begins here\n");
    end();
}
#endif

#ifdef WRONG_STATUS_BIT
/* The transmitter is waited for by a bit that tells of an overrun. */
static void put(char letter)
{
    while (!(in(PORT + 5) & (BAD ? 2 : 0x20)))
        ;
    out(PORT, letter);
}
void main(void)
{
    begin(END(kernel_stack));
    set_speed(3);
    put('k');
    end();
}
#endif

#ifdef WRONG_STATUS_REGISTER
/* The status is looked for one register too far. */
void main(void)
{
    begin(END(kernel_stack));
    set_speed(3);
    while (!(in(PORT + (BAD ? 6 : 5)) & 0x40))
        ;
    end();
}
#endif

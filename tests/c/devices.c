/* Drivers of a PC's small devices, each as kernels have them. Run by tests/kvm/devices.rs. */
#include "small.h"

static void print(const char *text)
{
    while (*text)
        out(0xe9, *text++);
}

static void hexadecimal(uint8_t value)
{
    out(0xe9, "0123456789abcdef"[value >> 4]);
    out(0xe9, "0123456789abcdef"[value & 15]);
}

static volatile uint32_t count;
static volatile uint8_t bytes[16];

/* The 8259s with vectors 20 and 28, and these lines open. */
static void lines(uint16_t open)
{
    tick();
    out(0x21, ~open), out(0xa1, ~open >> 8);
}

/* Waits for so many interrupts. */
static void wait(uint32_t wanted)
{
    for (;;) {
        __asm__ volatile("cli" : : : "memory");
        if (count >= wanted)
            return;
        __asm__ volatile("sti\n hlt" : : : "memory");
    }
}

static void byte_came(void)
{
    if (count < sizeof bytes)
        bytes[count++] = in(0x60);
}

#ifdef KEYBOARD_BY_INTERRUPT
/* The keyboard is its only interrupt. It asks on the screen and tells the scan codes. */
void key(struct pushed *p)
{
    byte_came();
    out(0x20, 0x20);
}
STUB(key_stub, key);
void main(void)
{
    gate(0x21, key_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    lines(1 << 1);
    out(0x64, 0x60), out(0x60, 0x45);
    for (int i = 0; i < 6; i++)
        ((volatile uint16_t *)0xb8000)[i] = 0x700 | "login:"[i];
    wait(4);
    for (uint32_t i = 0; i < 4; i++)
        hexadecimal(bytes[i]), out(0xe9, i < 3 ? ' ' : '\n');
    end();
}
#endif

#ifdef CLOCK_BY_INTERRUPT
/* The real-time clock interrupts 1024 times a second, as long as register C is read. */
void second_controller(struct pushed *p)
{
    out(0x70, 0x0c);
    if ((in(0x71) & 0xc0) == 0xc0 && ++count == 20)
        out(0x70, 0x0b), out(0x71, 0x02);
    out(0xa0, 0x20), out(0x20, 0x20);
}
STUB(clock_stub, second_controller);
void main(void)
{
    uint8_t second;
    gate(0x28, clock_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    lines(1 << 2 | 1 << 8);
    out(0x70, 0x0a), out(0x71, 0x26);
    out(0x70, 0x0b), out(0x71, 0x42);
    out(0x70, 0x0c), in(0x71);
    wait(20);
    print("twenty\n");
    end();
}
#endif

#if defined HPET_PERIODIC || defined HPET_ONE_SHOT
/* The high precision event timer, where the tables of ACPI say that it lies. */
static volatile uint32_t *hpet;
static uint32_t get(uint32_t offset) { return hpet[offset / 4]; }
static void set(uint32_t offset, uint32_t value) { hpet[offset / 4] = value; }
static int is(const void *at, const char *text)
{
    for (const char *byte = at; *text; text++)
        if (*byte++ != *text)
            return 0;
    return 1;
}
static void find(void)
{
    for (uint32_t root = 0xe0000; root < 0x100000; root += 16)
        if (is((void *)root, "RSD PTR ")) {
            uint32_t *list = *(uint32_t **)(root + 16);
            for (uint32_t at = 9; at < list[1] / 4; at++)
                if (is((void *)list[at], "HPET"))
                    hpet = *(volatile uint32_t **)(list[at] + 44);
        }
    if (!hpet || get(0) != 0x8086a201 || get(4) != 10000000)
        print("none\n"), end();
}
#endif

#ifdef HPET_PERIODIC
/* It ticks each millisecond, twenty times, in place of the 8254, which is set and not heard, nor while the counter is
 * waited for. */
void ticked(struct pushed *p)
{
    if (++count == 20)
        set(0x100, 8);
    out(0x20, 0x20);
}
STUB(tick_stub, ticked);
void main(void)
{
    gate(0x20, tick_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    find();
    lines(1 << 0);
    set(0x10, 0), set(0xf0, 0), set(0xf4, 0);
    set(0x100, 1 << 8 | 1 << 6 | 1 << 3 | 1 << 2), set(0x108, 100000), set(0x108, 100000);
    set(0x10, 3);
    wait(20);
    uint32_t began = get(0xf0);
    __asm__ volatile("sti");
    while (get(0xf0) - began < 1000000)
        ;
    __asm__ volatile("cli");
    print(began < 2000000 ? "early\n" : count == 20 ? "twenty\n" : "more\n");
    end();
}
#endif

#ifdef HPET_ONE_SHOT
/* Timer 2 comes half a millisecond after it was set, by pin 20 of the I/O APIC: three times by its level, which lasts until
 * the status is cleared, and twice by an edge. */
static volatile uint32_t *const io = (volatile uint32_t *)0xfec00000;
static void route(uint32_t trigger)
{
    io[0] = 0x10 + 2 * 20, io[4] = trigger | 0x30;
    set(0x140, 20 << 9 | 1 << 8 | 1 << 2 | (trigger ? 1 << 1 : 0));
}
static uint32_t due;
static int is_early;
static void next(void)
{
    due = get(0xf0) + 50000;
    set(0x148, due);
}
void came(struct pushed *p)
{
    is_early |= (int32_t)(get(0xf0) - due) < 0;
    if (count < 3 ? get(0x20) != 4 : get(0x20) != 0)
        print("status\n");
    set(0x20, 4);
    if (++count == 3)
        route(0);
    if (count < 5)
        next();
    *(volatile uint32_t *)0xfee000b0 = 0;
}
STUB(shot_stub, came);
void main(void)
{
    gate(0x30, shot_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    find();
    lines(0);
    set(0x10, 1);
    route(1 << 15);
    next();
    wait(5);
    print(is_early ? "early\n" : "five\n");
    end();
}
#endif

#ifdef MOUSE_BY_INTERRUPT
/* The mouse is reset, asked what it is and told to send, each answer by interrupt 12. */
void mouse(struct pushed *p)
{
    if (in(0x64) & 0x20)
        byte_came();
    out(0xa0, 0x20), out(0x20, 0x20);
}
STUB(mouse_stub, mouse);
static void tell(uint8_t command)
{
    while (in(0x64) & 2)
        ;
    out(0x64, 0xd4);
    while (in(0x64) & 2)
        ;
    out(0x60, command);
}
void main(void)
{
    gate(0x2c, mouse_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    lines(1 << 2 | 1 << 12);
    out(0x64, 0xa8);
    out(0x64, 0x60), out(0x60, 0x46);
    tell(0xff);
    wait(3);
    tell(0xf2);
    wait(5);
    tell(0xf4);
    wait(6);
    for (uint32_t i = 0; i < 6; i++)
        hexadecimal(bytes[i]), out(0xe9, i < 5 ? ' ' : '\n');
    end();
}
#endif

#ifdef MODE_13
/* 320 x 200 dots of 256 colours: the registers in which that mode differs from text, a colour of its own, and a line. */
static void set(uint16_t port, uint8_t index, uint8_t value)
{
    out(port, index);
    out(port + 1, value);
}
void main(void)
{
    begin(END(kernel_stack));
    set(0x3d4, 0x11, 0x0e);
    set(0x3c4, 4, 0x0e);
    set(0x3ce, 5, 0x40);
    set(0x3ce, 6, 0x05);
    set(0x3d4, 9, 0x41);
    out(0x3c8, 200), out(0x3c9, 63), out(0x3c9, 32), out(0x3c9, 0);
    for (int x = 0; x < 320; x++)
        ((volatile uint8_t *)0xa0000)[100 * 320 + x] = 200;
    end();
}
#endif

#ifdef PARALLEL_PORT
/* A line is printed on a printer that is not there: the driver looks for it, sends each byte with a strobe, and gives
 * up where no acknowledge comes. */
void main(void)
{
    begin(END(kernel_stack));
    out(0x378, 0xaa);
    print(in(0x378) == 0xaa ? "there" : "nobody");
    out(0x37a, 0x0c);
    print((in(0x379) & 0x80) ? ", not busy" : ", busy");
    out(0x378, 'x');
    out(0x37a, 0x0d), out(0x37a, 0x0c);
    print(in(0x379) & 0x40 ? ", no acknowledge\n" : ", acknowledged\n");
    end();
}
#endif

#ifdef PAE_LARGE_PAGES
/* Paging with PAE: four directories of pages of 2 MiB, and a program in ring 3 in one that the kernel maps twice. */
static uint64_t pointers[4] __attribute__((aligned(32)));
static uint64_t directories[4][512] __attribute__((aligned(4096)));
void called(struct pushed *p)
{
    if (p->eax)
        print("done\n"), end();
    count++;
}
STUB(call_stub, called);
/* A page that is not there yet: 2 MiB at 0xc0000000, which become those of the kernel. */
void fault(uint32_t *stack)
{
    uint32_t address;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    directories[address >> 30][address >> 21 & 511] = 0x87;
    count++;
}
__asm__("fault_stub: pusha\n push %esp\n call fault\n add $4, %esp\n popa\n add $4, %esp\n iret\n");
extern uint8_t fault_stub[];
static void program(void)
{
    for (int i = 0; i < 10; i++)
        ask(0, 0);
    if (*(volatile uint32_t *)0xc0100000 == *(volatile uint32_t *)0x100000)
        ask(1, 0);
    for (;;)
        ;
}
void main(void)
{
    uint32_t cr4;
    gate(0x80, call_stub, FOR_USER);
    gate(0x0e, fault_stub, FOR_KERNEL);
    begin(END(kernel_stack));
    for (int i = 0; i < 4; i++)
        pointers[i] = (uint32_t)directories[i] | 1;
    for (uint64_t i = 0; i < 8; i++)
        directories[0][i] = i << 21 | 0x87;
    __asm__ volatile("mov %%cr4, %0\n or $0x20, %0\n mov %0, %%cr4" : "=&r"(cr4));
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80010000, %%eax\n mov %%eax, %%cr0"
                     : : "r"(pointers) : "eax", "memory");
    leave(program, END(user_stack[0]), 0x202);
}
#endif

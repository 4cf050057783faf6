/* Drivers for drives, as small kernels have them. Built by tests/compiled.rs, run by tests/kvm/drives.rs. */
#include "small.h"

enum { FIRST = 0x1f0, SECOND = 0x170, CONTROL = 0x206 };
enum { COUNT = 2, LOW, MIDDLE, HIGH, DEVICE, COMMAND };
enum { BUSY = 0x80, READY = 0x40, DATA = 0x08, FAILED = 0x01 };

static void words_in(uint16_t port, void *at, uint32_t count)
{
    __asm__ volatile("cld\n rep insw" : "+D"(at), "+c"(count) : "d"(port) : "memory");
}
static void words_out(uint16_t port, const void *at, uint32_t count)
{
    __asm__ volatile("cld\n rep outsw" : "+S"(at), "+c"(count) : "d"(port) : "memory");
}
static void print(const char *text, int count)
{
    while (count-- && *text)
        out(0xe9, *text++);
}
static uint8_t settle(uint16_t base)
{
    uint8_t status;
    do
        status = in(base + COMMAND);
    while (status & BUSY);
    return status;
}
static void issue(uint16_t base, uint8_t device, uint32_t sector, uint8_t count, uint8_t command)
{
    out(base + DEVICE, device | (sector >> 24 & 0xf));
    out(base + COUNT, count);
    out(base + LOW, sector), out(base + MIDDLE, sector >> 8), out(base + HIGH, sector >> 16);
    out(base + COMMAND, command);
}
static char buffer[2048];

#ifdef BY_INTERRUPT
/* The first disk's sector 3 is printed, written to the second disk, and printed again from there; each command's end
 * is told by IRQ 14. */
static volatile uint32_t done;
__asm__("drive: pusha\n cld\n call ended\n popa\n iret\n");
extern uint8_t drive[];
void ended(void)
{
    in(FIRST + COMMAND);
    done++;
    out(0xa0, 0x20), out(0x20, 0x20);
}
static void wait(uint32_t number)
{
    __asm__ volatile("cli");
    while (done != number)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
}
void main(void)
{
    gate(0x2e, drive, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    out(0x21, 0xfb), out(0xa1, 0xbf);
    issue(FIRST, 0xe0, 3, 2, 0x20);
    wait(1), words_in(FIRST, buffer + 512, 256);
    wait(2), words_in(FIRST, buffer, 256);
    print(buffer + 512, 20);
    issue(FIRST, 0xf0, 1, 1, 0x30);
    while ((in(FIRST + CONTROL) & (BUSY | DATA)) != DATA)
        ;
    words_out(FIRST, buffer + 512, 256);
    wait(3);
    issue(FIRST, 0xf0, 1, 1, 0x20);
    wait(4), words_in(FIRST, buffer, 256);
    print(buffer, 20);
    end();
}
#endif

#ifdef BY_POLLING
/* What the disk says of itself, whether it can be written, and what there is behind its end. Before that two sectors as one
 * block, though nobody has set how many a block has. */
void main(void)
{
    out(FIRST + CONTROL, 2);
    issue(FIRST, 0xe0, 0, 2, 0xc4);
    out(0xe9, (settle(FIRST) & (DATA | FAILED)) == DATA ? 'm' : '?');
    words_in(FIRST, buffer, 512);
    out(0xe9, settle(FIRST) & DATA ? '?' : buffer[0]);
    issue(FIRST, 0xe0, 0, 0, 0xec);
    settle(FIRST);
    words_in(FIRST, buffer, 256);
    out(0xe9, '0' + *(uint32_t *)(buffer + 120));
    issue(FIRST, 0xe0, 0, 1, 0x30);
    out(0xe9, settle(FIRST) & FAILED ? 'p' : 'w');
    if (in(FIRST + COMMAND) & DATA)
        words_out(FIRST, "it was written", 7), words_out(FIRST, buffer, 249);
    settle(FIRST);
    issue(FIRST, 0xe0, 100, 1, 0x20);
    out(0xe9, settle(FIRST) & FAILED ? 'e' : '?');
    out(0xe9, in(SECOND + COMMAND) == 0 ? '-' : '+');
    end();
}
#endif

#ifdef CDROM
/* The CD's volume descriptor. */
void main(void)
{
    static const uint8_t read[12] = {0x28, 0, 0, 0, 0, 16, 0, 0, 1};
    out(SECOND + CONTROL, 0), out(SECOND + DEVICE, 0xa0);
    issue(SECOND, 0xa0, 2048 << 8, 0, 0xa0);
    settle(SECOND);
    words_out(SECOND, read, 6);
    settle(SECOND);
    words_in(SECOND, buffer, (in(SECOND + MIDDLE) | in(SECOND + HIGH) << 8) / 2);
    print(buffer + 1, 5);
    out(0xe9, settle(SECOND) & DATA ? '?' : '.');
    end();
}
#endif

#ifdef BUS_MASTER
/* The first disk's sector 3 is printed, written to the second disk, and printed again from there: by the bus master that
 * PCI configuration tells of, with two regions for each sector and IRQ 14 at the end of each command. */
enum { MASTER_COMMAND = 0, MASTER_STATUS = 2, MASTER_TABLE = 4 };
static volatile uint32_t ends;
static volatile uint8_t end_status;
static uint16_t master;
static uint32_t __attribute__((aligned(16))) table[4];
static char __attribute__((aligned(4096))) regions[2][4096];
__asm__("channel: pusha\n cld\n call channel_ended\n popa\n iret\n");
extern uint8_t channel[];
static void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
static uint32_t configured(uint32_t at, uint32_t reg)
{
    out32(0xcf8, 1u << 31 | at << 8 | reg);
    return in32(0xcfc);
}
static void configure(uint32_t at, uint32_t reg, uint32_t value)
{
    out32(0xcf8, 1u << 31 | at << 8 | reg);
    out32(0xcfc, value);
}
void channel_ended(void)
{
    end_status = in(master + MASTER_STATUS);
    in(FIRST + COMMAND);
    out(master + MASTER_COMMAND, 0), out(master + MASTER_STATUS, 6);
    ends++;
    out(0xa0, 0x20), out(0x20, 0x20);
}
/* The master's ports, which are counted first. */
static uint16_t find_master(void)
{
    for (uint32_t at = 0; at < 256; at++) {
        if (configured(at, 0) == 0xffffffff || configured(at, 8) >> 8 != 0x010180)
            continue;
        uint32_t base = configured(at, 0x20);
        configure(at, 0x20, 0xffffffff);
        uint32_t size = ~(configured(at, 0x20) & ~3u) + 1;
        configure(at, 0x20, base);
        configure(at, 4, configured(at, 4) & 0xffff | 5);
        return base & 1 && size == 16 ? base & ~3u : 0;
    }
    return 0;
}
static void move(uint8_t drive, uint32_t sector, uint8_t command, uint8_t direction, uint32_t number)
{
    out32(master + MASTER_TABLE, (uint32_t)table);
    out(master + MASTER_COMMAND, direction);
    issue(FIRST, drive, sector, 1, command);
    __asm__ volatile("cli" : : : "memory");
    out(master + MASTER_COMMAND, direction | 1);
    while (ends != number)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
    out(0xe9, (end_status & 7) == 4 ? '0' + number : '!');
}
void main(void)
{
    gate(0x2e, channel, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    out(0x21, 0xfb), out(0xa1, 0xbf);
    master = find_master();
    if (!master)
        out(0xe9, '!'), end();
    table[0] = (uint32_t)regions[0], table[1] = 10;
    table[2] = (uint32_t)regions[1], table[3] = 502 | 1u << 31;
    move(0xe0, 3, 0xc8, 8, 1);
    print(regions[0], 10), print(regions[1], 10);
    move(0xf0, 1, 0xca, 0, 2);
    for (int i = 0; i < 4096; i++)
        regions[0][i] = regions[1][i] = '-';
    move(0xf0, 1, 0xc8, 8, 3);
    print(regions[0], 10), print(regions[1], 10);
    out(0xe9, regions[0][10] == '-' && regions[1][502] == '-' ? '.' : '!');
    end();
}
#endif

#ifdef FLOPPY
/* A sector of the floppy disk is printed, written to another one, and printed from there: by DMA, with IRQ 6 at the end
 * of each command. */
enum { OUTPUT = 0x3f2, STATUS = 0x3f4, FIFO = 0x3f5, RATE = 0x3f7 };
static volatile uint32_t floppy_done;
__asm__("floppy: pusha\n cld\n call floppy_ended\n popa\n iret\n");
extern uint8_t floppy[];
void floppy_ended(void)
{
    floppy_done++;
    out(0x20, 0x20);
}
static void await(uint32_t number)
{
    __asm__ volatile("cli");
    while (floppy_done != number)
        __asm__ volatile("sti\n hlt\n cli" : : : "memory");
}
static void say(uint8_t byte)
{
    while ((in(STATUS) & 0xc0) != 0x80)
        ;
    out(FIFO, byte);
}
static uint8_t hear(void)
{
    while ((in(STATUS) & 0xc0) != 0xc0)
        ;
    return in(FIFO);
}
static void sector(uint8_t command, uint8_t mode, uint8_t number, void *at)
{
    static const uint8_t rest[] = {2, 18, 27, 255};
    uint32_t address = (uint32_t)at;
    out(0x0a, 6), out(0x0c, 0), out(0x0b, mode);
    out(0x04, address), out(0x04, address >> 8), out(0x81, address >> 16);
    out(0x05, 511 & 0xff), out(0x05, 511 >> 8), out(0x0a, 2);
    say(command), say(1 << 2), say(1), say(1), say(number);
    for (int i = 0; i < 4; i++)
        say(rest[i]);
}
static uint8_t statuses(void)
{
    uint8_t first = hear();
    for (int i = 0; i < 6; i++)
        hear();
    return first;
}
static char __attribute__((aligned(512))) track[1024];
void main(void)
{
    gate(0x26, floppy, FOR_KERNEL);
    begin(END(kernel_stack));
    tick();
    out(0x21, 0xbf), out(0xa1, 0xff);
    out(OUTPUT, 0), out(OUTPUT, 0x1c), out(RATE, 0);
    await(1);
    for (int drive = 0; drive < 4; drive++)
        say(8), hear(), hear();
    say(3), say(0xdf), say(2);
    say(7), say(0), await(2), say(8), hear(), hear();
    say(15), say(4), say(1), await(3), say(8);
    out(0xe9, hear() == 0x20 && hear() == 1 ? 's' : '!');
    sector(0xe6, 0x46, 2, track), await(4);
    out(0xe9, statuses() & 0xc0 ? '!' : 'r');
    print(track, 21);
    sector(0xc5, 0x4a, 3, track), await(5);
    out(0xe9, statuses() & 0xc0 ? 'p' : 'w');
    sector(0xe6, 0x46, 3, track + 512), await(6);
    statuses();
    print(track + 512, 21);
    end();
}
#endif

#ifdef WAITS_FOR_DATA
/* The command byte of a read is left out, and its data are waited for. */
void main(void)
{
    begin(END(kernel_stack));
    settle(FIRST);
#if BAD
    out(FIRST + DEVICE, 0xe0), out(FIRST + COUNT, 1), out(FIRST + LOW, 3), out(FIRST + MIDDLE, 0), out(FIRST + HIGH, 0);
#else
    issue(FIRST, 0xe0, 3, 1, 0x20);
#endif
    while (!(in(FIRST + COMMAND) & DATA))
        ;
    words_in(FIRST, buffer, 256);
    end();
}
#endif

#ifdef REFUSED_AND_WAITED_FOR
/* A sector is read that the disk does not have, and nobody looks at ERR. */
void main(void)
{
    begin(END(kernel_stack));
    settle(FIRST);
    issue(FIRST, 0xe0, BAD ? 0x100000 : 3, 1, 0x20);
    while (!(in(FIRST + COMMAND) & DATA))
        ;
    words_in(FIRST, buffer, 256);
    end();
}
#endif

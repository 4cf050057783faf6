//! The local APIC at 0xFEE00000, as a kernel on one processor uses it.
//!
//! Source: Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)"; the sections are named
//! where they decide. It is the xAPIC: registers in memory, no x2APIC, no TSC deadline.
//! ```text
//!   timer ─┐                        TPR, ISR
//!   error ─┼─► LVT ─► vector ─► IRR ─────────► INTR ─► CPU
//!   ICR, I/O APIC ──────────────┘               ▲
//!   8259 ─► LINT0, as ExtINT ───────────────────┘  the vector comes from the 8259
//! ```
//! A BIOS leaves it on, with LINT0 as ExtINT ("virtual wire"): a kernel that never touches it gets its
//! interrupts from the 8259 as if it were not there. Messages take no time, so delivery status is never
//! *pending*. There is no other processor: what is sent to one is gone. SMI, INIT and start-up that a
//! processor sends to itself are not delivered; an NMI is.

use super::device::Device;
use super::io_apic::Message;

/// Where its page lies.
pub const BASE: u64 = 0xFEE0_0000;
/// Bytes of its page.
pub const SIZE: u64 = 0x1000;

/// Nanoseconds of the timer's clock before it is divided: 100 MHz, the bus of a Pentium III. A kernel that
/// measures it does not care; one that takes a constant gets a tick that an emulated machine can bear.
const TICK: u64 = 10;
/// Nanoseconds of the shortest period: that of a handler has to fit in. KVM has the same limit.
const SHORTEST_PERIOD: u64 = 200_000;

/// Version 0x14, six entries in the local vector table ("Local APIC Version Register").
const VERSION: u32 = 0x0005_0014;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const PERIODIC: u32 = 1 << 17;
const NMI: u32 = 4;
const EXTERNAL: u32 = 7;

const ERROR_SEND_VECTOR: u32 = 1 << 5;
const ERROR_RECEIVE_VECTOR: u32 = 1 << 6;
const ERROR_REGISTER: u32 = 1 << 7;

/// Entries of the local vector table, in the order of their addresses from 0x320 on.
const TIMER: usize = 0;
const LINT0: usize = 3;
const LINT1: usize = 4;
const ERROR: usize = 5;
/// Which bits of each can be written: the rest is reserved or read-only.
const LVT_BITS: [u32; 6] = [0x3_00FF, 0x1_07FF, 0x1_07FF, 0x1_A7FF, 0x1_A7FF, 0x1_00FF];

/// 256 bits, one for each vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Vectors([u32; 8]);

impl Vectors {
    fn set(&mut self, vector: u8, on: bool) {
        let word = &mut self.0[usize::from(vector / 32)];
        let bit = 1 << (vector % 32);
        *word = if on { *word | bit } else { *word & !bit };
    }

    fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector / 32)] & (1 << (vector % 32)) != 0
    }

    fn highest(&self) -> Option<u8> {
        let word = (0..8).rev().find(|index| self.0[*index] != 0)?;
        Some((word as u32 * 32 + 31 - self.0[word].leading_zeros()) as u8)
    }
}

/// The offset of the timer's current count.
const CURRENT_COUNT: u16 = 0x390;
/// So many reads are more than a kernel needs to set itself up.
const STEADY: u32 = 1_000;

/// What is known of its timer, for whoever asks why it does not tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerState {
    /// A count was written, and a vector.
    pub is_set: bool,
    /// The vector of its entry.
    pub vector: u8,
    /// Its entry is masked.
    pub is_masked: bool,
    /// It begins anew by itself.
    pub is_periodic: bool,
    /// It counts.
    pub runs: bool,
    /// The whole APIC is disabled by software.
    pub is_disabled: bool,
    /// The spurious-interrupt vector register.
    pub spurious: u32,
}

/// What a write means beyond the local APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Consequence {
    /// Nothing.
    None,
    /// A level-triggered interrupt has ended: the I/O APICs are told ("EOI Message Broadcasting").
    Ended(
        /// Its vector.
        u8,
    ),
}

/// The registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalApic {
    id: u32,
    task_priority: u8,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    in_service: Vectors,
    level_triggered: Vectors,
    requests: Vectors,
    /// What the error status register shows, and what it will show after the next write to it.
    errors: (u32, u32),
    command: (u32, u32),
    /// An NMI is on its way to the processor.
    nmi: bool,
    table: [u32; 6],
    divide: u32,
    initial_count: u32,
    /// When the timer is next at 0; `None` if it stands.
    expires: Option<u64>,
    now: u64,
    /// Reads since the timer's current count was last read.
    steady_reads: u32,
}

impl Default for LocalApic {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalApic {
    /// As a BIOS leaves it: on, LINT0 for the 8259, LINT1 for the NMI, all else masked.
    pub fn new() -> Self {
        let mut table = [MASKED; 6];
        table[LINT0] = EXTERNAL << 8;
        table[LINT1] = 4 << 8;
        Self {
            id: 0,
            task_priority: 0,
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: SOFTWARE_ENABLE | 0xFF,
            in_service: Vectors::default(),
            level_triggered: Vectors::default(),
            requests: Vectors::default(),
            errors: (0, 0),
            command: (0, 0),
            nmi: false,
            table,
            divide: 0,
            initial_count: 0,
            expires: None,
            now: 0,
            steady_reads: 0,
        }
    }

    /// Reads the double word at `offset` in its page. Registers lie on multiples of 16.
    pub fn read(&mut self, offset: u16) -> u32 {
        let counts = offset & 0xFF0 == CURRENT_COUNT;
        self.steady_reads = if counts { 0 } else { self.steady_reads.saturating_add(1) };
        self.register(offset).unwrap_or_else(|| {
            self.fail(ERROR_REGISTER);
            0
        })
    }

    /// What a register holds, to be looked at; `None` where there is none.
    fn register(&self, offset: u16) -> Option<u32> {
        let index = usize::from(offset >> 4);
        Some(match offset & 0xFF0 {
            _ if offset & 0xC != 0 => 0,
            0x020 => self.id,
            0x030 => VERSION,
            0x080 => self.task_priority.into(),
            0x090 | 0x0A0 => self.processor_priority().into(),
            0x0B0 | 0x0C0 => 0,
            0x0D0 => self.logical_destination,
            0x0E0 => self.destination_format,
            0x0F0 => self.spurious,
            0x100..=0x170 => self.in_service.0[index & 7],
            0x180..=0x1F0 => self.level_triggered.0[index & 7],
            0x200..=0x270 => self.requests.0[index & 7],
            0x280 => self.errors.0,
            0x300 => self.command.0,
            0x310 => self.command.1,
            0x320..=0x370 => self.table[index - 0x32],
            0x380 => self.initial_count,
            CURRENT_COUNT => self.current_count(),
            0x3E0 => self.divide,
            _ => return None,
        })
    }

    /// Whether the kernel reads it again and again, and not to see the timer run: then its page may as well be
    /// memory, which costs no exit, for to read a register changes none. Some kernels ask for their processor's
    /// number at each lock that they take.
    pub fn is_read_like_memory(&self) -> bool {
        self.steady_reads >= STEADY
    }

    /// The double words that hold a register, and at which offset in the page.
    pub fn page(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        (0..=0x3Eu16).filter_map(|index| Some((index << 4, self.register(index << 4)?)))
    }

    /// Writes the double word at `offset` in its page.
    pub fn write(&mut self, offset: u16, value: u32) -> Consequence {
        if offset & 0xC != 0 {
            return Consequence::None;
        }
        match offset & 0xFF0 {
            0x020 => self.id = value & 0xFF00_0000,
            0x080 => self.task_priority = value as u8,
            0x0B0 => return self.end_of_interrupt(),
            0x0D0 => self.logical_destination = value & 0xFF00_0000,
            0x0E0 => self.destination_format = value | 0x0FFF_FFFF,
            0x0F0 => {
                self.spurious = value & 0x3FF;
                if value & SOFTWARE_ENABLE == 0 {
                    // "Local APIC State After It Has Been Software Disabled".
                    self.table.iter_mut().for_each(|entry| *entry |= MASKED);
                }
            }
            0x280 => self.errors = (self.errors.1, 0),
            0x300 => self.send(value),
            0x310 => self.command.1 = value & 0xFF00_0000,
            0x320..=0x370 => {
                let index = usize::from(offset >> 4) - 0x32;
                let forced = if self.is_enabled() { 0 } else { MASKED };
                self.table[index] = value & LVT_BITS[index] | forced;
            }
            0x380 => {
                self.initial_count = value;
                self.start(value);
            }
            0x3E0 => {
                let left = self.current_count();
                self.divide = value & 0xB;
                if self.expires.is_some() {
                    self.start(left);
                }
            }
            // Read-only.
            0x030 | 0x090 | 0x0A0 | 0x0C0 | 0x100..=0x270 | 0x390 => {}
            _ => self.fail(ERROR_REGISTER),
        }
        Consequence::None
    }

    /// A message from the I/O APIC: takes it, if it is for this processor.
    pub fn receive(&mut self, message: Message) {
        if !self.is_meant(message.destination, message.logical) {
            return;
        }
        // Fixed, lowest priority: with one processor they are the same.
        match u32::from(message.mode) {
            0 | 1 => self.request(message.vector, message.level_triggered),
            NMI => self.nmi = true,
            _ => {}
        }
    }

    /// Whether the 8259's INTR reaches the CPU through LINT0.
    pub fn passes_external(&self) -> bool {
        let entry = self.table[LINT0];
        !self.is_enabled() || (entry & MASKED == 0 && entry >> 8 & 7 == EXTERNAL)
    }

    /// The guest has let its timer's interrupt through.
    pub fn timer_is_used(&self) -> bool {
        self.table[TIMER] & MASKED == 0
    }

    /// What its timer is set to.
    pub fn timer(&self) -> TimerState {
        let entry = self.table[TIMER];
        TimerState {
            is_set: self.initial_count != 0 && entry as u8 >= 16,
            vector: entry as u8,
            is_masked: entry & MASKED != 0,
            is_periodic: self.is_periodic(),
            runs: self.expires.is_some(),
            is_disabled: !self.is_enabled(),
            spurious: self.spurious,
        }
    }

    /// The vector that is in service, and the one that it holds back.
    pub fn held_back(&self) -> Option<(u8, u8)> {
        let waits = self.requests.highest().filter(|_| self.is_enabled())?;
        let serving = self.in_service.highest()?;
        (waits >> 4 <= serving >> 4).then_some((serving, waits))
    }

    /// Whether it has an NMI for the CPU, which waits for none of the above.
    pub fn nmi_pending(&self) -> bool {
        self.nmi
    }

    /// The CPU takes the NMI.
    pub fn take_nmi(&mut self) {
        self.nmi = false;
    }

    /// Whether it asks the CPU for an interrupt.
    pub fn pending(&self) -> bool {
        self.deliverable().is_some()
    }

    /// The CPU takes the interrupt: gives its vector and has it in service.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = self.deliverable()?;
        self.requests.set(vector, false);
        self.in_service.set(vector, true);
        Some(vector)
    }

    /// "Task and Processor Priorities": a request is delivered if its class is above the processor's.
    fn deliverable(&self) -> Option<u8> {
        let vector = self.requests.highest().filter(|_| self.is_enabled())?;
        (vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    fn processor_priority(&self) -> u8 {
        let serving = self.in_service.highest().unwrap_or(0);
        if self.task_priority >> 4 >= serving >> 4 { self.task_priority } else { serving & 0xF0 }
    }

    fn end_of_interrupt(&mut self) -> Consequence {
        let Some(vector) = self.in_service.highest() else { return Consequence::None };
        self.in_service.set(vector, false);
        if self.level_triggered.contains(vector) {
            Consequence::Ended(vector)
        } else {
            Consequence::None
        }
    }

    fn is_enabled(&self) -> bool {
        self.spurious & SOFTWARE_ENABLE != 0
    }

    /// Vectors below 16 are illegal ("Valid Interrupt Vectors").
    fn request(&mut self, vector: u8, level_triggered: bool) {
        if vector < 16 {
            self.fail(ERROR_RECEIVE_VECTOR);
        } else if self.is_enabled() {
            self.requests.set(vector, true);
            self.level_triggered.set(vector, level_triggered);
        }
    }

    /// "Error Handling": remembers an error, and tells of it by its vector.
    fn fail(&mut self, error: u32) {
        let new = self.errors.1 & error == 0;
        self.errors.1 |= error;
        let entry = self.table[ERROR];
        if new && entry & MASKED == 0 && entry as u8 >= 16 {
            self.request(entry as u8, false);
        }
    }

    /// "Determining IPI Destination". Cluster models are as flat ones where there is one processor.
    fn is_meant(&self, destination: u8, logical: bool) -> bool {
        if destination == 0xFF {
            return true;
        }
        if logical {
            let own = (self.logical_destination >> 24) as u8;
            if self.destination_format >> 28 == 0xF {
                return own & destination != 0;
            }
            return own >> 4 == destination >> 4 && own & destination & 0xF != 0;
        }
        destination == (self.id >> 24) as u8
    }

    /// "Interrupt Command Register": a write to the low half sends.
    fn send(&mut self, command: u32) {
        self.command.0 = command & 0x000C_CFFF;
        let destination = (self.command.1 >> 24) as u8;
        let to_self = match command >> 18 & 3 {
            0 => self.is_meant(destination, command & 1 << 11 != 0),
            1 | 2 => true,
            _ => false,
        };
        let vector = command as u8;
        match command >> 8 & 7 {
            0 | 1 => {}
            NMI if to_self => return self.nmi = true,
            _ => return,
        }
        if vector < 16 {
            self.fail(ERROR_SEND_VECTOR);
        } else if to_self {
            self.request(vector, false);
        }
    }

    /// "Divide Configuration Register": bits 3, 1 and 0; 7 means that nothing is divided.
    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        if code == 7 { 1 } else { 2 << code }
    }

    /// How long so many counts take.
    fn duration(&self, count: u32) -> u64 {
        let time = u64::from(count) * self.divisor() * TICK;
        if self.is_periodic() { time.max(SHORTEST_PERIOD) } else { time }
    }

    fn is_periodic(&self) -> bool {
        self.table[TIMER] & PERIODIC != 0
    }

    fn start(&mut self, count: u32) {
        self.expires = (count != 0).then(|| self.now.saturating_add(self.duration(count).max(1)));
    }

    fn current_count(&self) -> u32 {
        let left =
            self.expires.map_or(0, |at| at.saturating_sub(self.now)) / (self.divisor() * TICK);
        u32::try_from(left).unwrap_or(u32::MAX).min(self.initial_count)
    }
}

impl Device for LocalApic {
    fn advance_to(&mut self, now: u64) {
        self.now = self.now.max(now);
        let Some(at) = self.expires.filter(|at| *at <= self.now) else { return };
        self.expires = self.is_periodic().then(|| {
            let period = self.duration(self.initial_count);
            at + ((self.now - at) / period + 1).saturating_mul(period)
        });
        let entry = self.table[TIMER];
        if entry & MASKED == 0 {
            self.request(entry as u8, false);
        }
    }

    fn deadline(&self, _is_open: &dyn Fn(u8) -> bool) -> Option<u64> {
        self.expires.filter(|_| self.table[TIMER] & MASKED == 0 && self.is_enabled())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    fn set(apic: &mut LocalApic, offset: u16, value: u32) {
        assert_eq!(apic.write(offset, value), Consequence::None);
    }

    fn to_self(apic: &mut LocalApic, vector: u8) {
        set(apic, 0x300, 0x4_0000 | u32::from(vector));
    }

    #[test]
    fn it_is_read_like_memory_once_it_is_read_for_all_but_the_timer() {
        let mut apic = LocalApic::new();
        for turn in 0..3 * STEADY {
            apic.read(if turn % 100 == 0 { CURRENT_COUNT } else { 0x20 });
            assert!(!apic.is_read_like_memory());
        }
        for _ in 0..STEADY {
            apic.read(0x20);
        }
        assert!(apic.is_read_like_memory());
        let shown: Vec<(u16, u32)> = apic.page().collect();
        assert!(shown.iter().all(|(offset, word)| apic.clone().read(*offset) == *word));
        assert!(
            shown.contains(&(0x30, VERSION)) && shown.iter().all(|(offset, _)| *offset < 0x400)
        );
    }

    #[test]
    fn an_nmi_that_is_sent_to_oneself_waits_for_the_cpu_and_for_nothing_else() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x300, 0xC_0400);
        assert!(!apic.nmi_pending(), "all but this one, of which there are none");
        set(&mut apic, 0x300, 0x4_0400);
        assert!(apic.nmi_pending() && !apic.pending());
        apic.take_nmi();
        assert!(!apic.nmi_pending());
    }

    #[test]
    fn it_says_that_it_is_an_xapic_with_six_entries_and_takes_an_id() {
        let mut apic = LocalApic::new();
        assert_eq!(apic.read(0x30), 0x0005_0014);
        set(&mut apic, 0x20, 0x0300_0000);
        assert_eq!(apic.read(0x20), 0x0300_0000);
        assert!(apic.passes_external(), "virtual wire");
        set(&mut apic, 0x350, 0x1_0000);
        assert!(!apic.passes_external());
    }

    #[test]
    fn a_higher_class_interrupts_a_lower_one_and_the_same_class_waits() {
        let mut apic = LocalApic::new();
        to_self(&mut apic, 0x41);
        assert_eq!(apic.read(0x300) & 1 << 12, 0, "delivery takes no time");
        assert_eq!(apic.acknowledge(), Some(0x41));
        assert_eq!(apic.read(0x120), 1 << 1);
        to_self(&mut apic, 0x4F);
        assert!(!apic.pending());
        assert_eq!(apic.read(0x220), 1 << 15);
        to_self(&mut apic, 0x50);
        assert_eq!(apic.acknowledge(), Some(0x50));
        assert_eq!(apic.read(0xA0), 0x50);
        set(&mut apic, 0xB0, 0);
        set(&mut apic, 0xB0, 0);
        assert_eq!(apic.acknowledge(), Some(0x4F));
    }

    #[test]
    fn the_task_priority_holds_back_its_own_class_and_those_below() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x80, 0x50);
        to_self(&mut apic, 0x5F);
        assert!(!apic.pending());
        set(&mut apic, 0x80, 0x40);
        assert!(apic.pending());
    }

    #[test]
    fn the_end_of_a_level_triggered_interrupt_is_broadcast() {
        let mut apic = LocalApic::new();
        let message = Message {
            vector: 0x60,
            mode: 0,
            level_triggered: true,
            destination: 0,
            logical: false,
        };
        apic.receive(Message { destination: 3, ..message });
        assert!(!apic.pending(), "not for us");
        apic.receive(message);
        assert_eq!(apic.acknowledge(), Some(0x60));
        assert_eq!(apic.read(0x1B0), 1);
        assert_eq!(apic.write(0xB0, 0), Consequence::Ended(0x60));
    }

    #[test]
    fn logical_destinations_follow_the_two_models() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0xD0, 0x0200_0000);
        assert!(apic.is_meant(0x06, true) && !apic.is_meant(0x04, true));
        set(&mut apic, 0xD0, 0x1200_0000);
        set(&mut apic, 0xE0, 0);
        assert!(apic.is_meant(0x1F, true) && !apic.is_meant(0x2F, true));
        assert!(apic.is_meant(0xFF, false));
    }

    #[test]
    fn one_shot_counts_down_once_by_the_divided_clock() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x3E0, 0x3);
        set(&mut apic, 0x320, 0x30);
        set(&mut apic, 0x380, 1000);
        assert_eq!(apic.deadline(&|_| true), Some(160_000));
        apic.advance_to(80_000);
        assert_eq!(apic.read(0x390), 500);
        apic.advance_to(160_000);
        assert_eq!(apic.acknowledge(), Some(0x30));
        assert_eq!(apic.read(0x390), 0);
        apic.advance_to(MILLISECOND);
        assert!(!apic.pending() && apic.deadline(&|_| true).is_none());
    }

    #[test]
    fn periodic_reloads_and_a_late_guest_sees_one_tick() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x3E0, 0xB);
        set(&mut apic, 0x320, 0x2_0030);
        set(&mut apic, 0x380, MILLISECOND as u32);
        apic.advance_to(35 * MILLISECOND);
        assert_eq!(apic.acknowledge(), Some(0x30));
        set(&mut apic, 0xB0, 0);
        assert!(!apic.pending());
        assert_eq!(apic.deadline(&|_| true), Some(40 * MILLISECOND));
        assert_eq!(apic.read(0x390), MILLISECOND as u32 / 2);
        set(&mut apic, 0x380, 0);
        assert_eq!(apic.deadline(&|_| true), None);
    }

    #[test]
    fn software_disable_masks_the_table_and_delivers_nothing() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x320, 0x30);
        set(&mut apic, 0xF0, 0xFF);
        assert_eq!(apic.read(0x320) & MASKED, MASKED);
        set(&mut apic, 0x320, 0x30);
        assert_eq!(apic.read(0x320) & MASKED, MASKED);
        to_self(&mut apic, 0x50);
        assert!(!apic.pending());
    }

    #[test]
    fn errors_show_after_a_write_and_have_a_vector() {
        let mut apic = LocalApic::new();
        set(&mut apic, 0x370, 0xFE);
        to_self(&mut apic, 3);
        assert_eq!(apic.read(0x280), 0);
        set(&mut apic, 0x280, 0);
        assert_eq!(apic.read(0x280), ERROR_SEND_VECTOR);
        assert_eq!(apic.acknowledge(), Some(0xFE));
        set(&mut apic, 0x280, 0);
        assert_eq!(apic.read(0x280), 0);
    }
}

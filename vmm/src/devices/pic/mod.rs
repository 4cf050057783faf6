//! The PC's interrupt controller: two 8259As, the slave on input 2 of the master.
//!
//! Sources: Intel 8259A data sheet (231468), "Cascade Mode"; for the edge/level registers 0x4D0 and
//! 0x4D1 the Intel 82371SB data sheet (PIIX3), "ELCR1" and "ELCR2".
//! ```text
//!  IRQ 0 1   3 4 5 6 7             IRQ 8 … 15
//!      │ │   │ │ │ │ │                 │ │
//!    ┌─┴─┴─┬─┴─┴─┴─┴─┴┐     INT      ┌─┴─┴────┐
//!    │ master      IR2 ◄──────────────┤ slave  │
//!    └──┬─────────────┘              └────────┘
//!       └─► INTR to the CPU           vectors follow INTA through the cascade lines
//! ```
//! The wire between the two is instantaneous, so a slave's request that goes away takes the master's
//! with it: IRQ 7 can be spurious here (the VMM acknowledges too late), IRQ 15 cannot.

pub mod i8259;

use i8259::I8259;

/// The master's input with the slave on it, and so the slave's number.
pub(crate) const CASCADE: u8 = 2;

/// The timer's input.
const TIMER: u8 = 0;

/// Lines that a PC keeps edge-triggered: 0 to 2 on the master, 8 and 13 on the slave.
const ALWAYS_EDGE: [u8; 2] = [0b0000_0111, 0b0010_0001];

/// The two controllers and the wire between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pic {
    master: I8259,
    slave: I8259,
    /// The edge/level control registers.
    level_triggered: [u8; 2],
    /// The interrupt (0–15) that was acknowledged last, until it is ended: its handler runs.
    serving: Option<u8>,
    /// By the controller that it was written to.
    strays: [Option<StrayEnd>; 2],
    /// The first that was lost on the way between the two.
    astray: Option<Astray>,
}

/// An interrupt that came by a vector which is not its own: what ICW3 says of the wire between the two is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Astray {
    /// The interrupt (0–15).
    pub irq: u8,
    /// The vector that came in its place.
    pub vector: u8,
}

/// An end of interrupt that ended nothing, while the handler of an interrupt ran that is in service still.
///
/// Many kernels write an end to both controllers, whatever they serve. There the right one is ended as well,
/// before or after, and nothing has gone astray.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StrayEnd {
    /// OCW2.
    word: u8,
    /// The interrupt (0–15).
    serving: u8,
}

/// Which of the two controllers a port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// IRQ 0 to 7, ports 0x20 and 0x21.
    Master,
    /// IRQ 8 to 15, ports 0xA0 and 0xA1.
    Slave,
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Pic {
    /// Both as a PC's BIOS leaves them, vectors 0x08 and 0x70, with the timer and the cascade open: a kernel
    /// that opens interrupts before it has programmed them gets vector 8, which it takes for a double fault.
    pub fn new() -> Self {
        let mut master = I8259::new(0x08, 1 << CASCADE);
        master.write(1, !(1 << TIMER | 1 << CASCADE));
        let slave = I8259::new(0x70, CASCADE);
        Self {
            master,
            slave,
            level_triggered: [0; 2],
            serving: None,
            strays: [None; 2],
            astray: None,
        }
    }

    /// Drives interrupt line `irq` (0–15) high or low. Line 2 is the cascade and cannot be driven.
    pub fn set_line(&mut self, irq: u8, high: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, high),
            8..16 => self.slave.set_line(irq - 8, high),
            _ => debug_assert!(false, "a PC has no IRQ {irq}"),
        }
        self.follow_slave();
    }

    /// INTR: whether the CPU is asked for an interrupt.
    pub fn pending(&self) -> bool {
        self.master.pending().is_some()
    }

    /// INTA: takes the highest request into service and gives its vector.
    ///
    /// With nothing pending (any more) it is the master's vector for IRQ 7, and nothing is in service.
    /// Where ICW3 announces a slave that is not there, no one drives the bus: 0xFF.
    pub fn acknowledge(&mut self) -> u8 {
        let before = self.in_service();
        let vector = self.serve();
        self.note_service(before);
        vector
    }

    /// The master has taken input `level`, and gives a vector that is not that of the line behind it.
    fn leads_astray(&mut self, level: u8, vector: u8) -> u8 {
        let own = if level == CASCADE { self.slave_pending() } else { Some(level) };
        self.astray = self.astray.or(own.map(|irq| Astray { irq, vector }));
        vector
    }

    fn serve(&mut self) -> u8 {
        let Some(level) = self.master.acknowledge() else {
            return self.master.vector(7);
        };
        if self.master.cascade() & (1 << level) == 0 {
            let vector = self.master.vector(level);
            return if level == CASCADE { self.leads_astray(level, vector) } else { vector };
        }
        if level != CASCADE || self.slave.cascade() & 7 != CASCADE {
            return self.leads_astray(level, 0xFF);
        }
        let level = self.slave.acknowledge().unwrap_or(7);
        self.release_slave();
        self.slave.vector(level)
    }

    /// The last end of interrupt that the master or the slave was sent in place of the one that `irq`, which is in
    /// service, waits for.
    pub fn stray_ends(&self, irq: u8) -> [Option<u8>; 2] {
        let of_it = |stray: StrayEnd| (stray.serving == irq).then_some(stray.word);
        self.strays.map(|stray| stray.and_then(of_it))
    }

    /// The first interrupt that came by another vector than its own, since ICW3 says where the slave is, and is wrong.
    pub fn astray(&self) -> Option<Astray> {
        self.astray
    }

    /// ICW3 of the master and of the slave; 0 for one that was told that it is alone.
    pub fn cascades(&self) -> [u8; 2] {
        [self.master.cascade(), self.slave.cascade()]
    }

    /// The interrupt (0–15) that INTA would serve.
    pub fn next(&self) -> Option<u8> {
        let level = self.master.pending()?;
        if level == CASCADE { self.slave_pending() } else { Some(level) }
    }

    /// The interrupt (8–15) that the slave asks the master for.
    pub fn slave_pending(&self) -> Option<u8> {
        self.slave.pending().map(|level| 8 + level)
    }

    /// The interrupt mask registers, master in the low byte.
    pub fn masks(&self) -> u16 {
        u16::from_le_bytes([self.master.mask(), self.slave.mask()])
    }

    /// Whether `irq` (0–15) cannot reach the CPU because of a mask, its own or the cascade's.
    pub fn is_masked(&self, irq: u8) -> bool {
        match irq {
            0..8 => self.master.mask() & (1 << irq) != 0,
            _ => {
                self.slave.mask() & (1 << (irq & 7)) != 0
                    || self.master.mask() & (1 << CASCADE) != 0
            }
        }
    }

    /// Reads a controller at address 0 or 1.
    pub fn read(&mut self, controller: Controller, address: u8) -> u8 {
        let before = self.in_service();
        let value = self.read_or_poll(controller, address);
        self.note_service(before);
        value
    }

    fn read_or_poll(&mut self, controller: Controller, address: u8) -> u8 {
        match controller {
            Controller::Master => self.master.read(address),
            Controller::Slave => {
                let served = self.slave.in_service();
                let value = self.slave.read(address);
                if self.slave.in_service() == served {
                    self.follow_slave();
                } else {
                    // It was a poll that acknowledged.
                    self.release_slave();
                }
                value
            }
        }
    }

    /// Writes a controller at address 0 or 1.
    pub fn write(&mut self, controller: Controller, address: u8, value: u8) {
        match controller {
            Controller::Master => self.master.write(address, value),
            Controller::Slave => self.slave.write(address, value),
        }
        self.note_ends();
        self.follow_slave();
    }

    /// Something was written: keeps an end that has ended nothing, and forgets what has been ended.
    fn note_ends(&mut self) {
        let in_service = self.in_service();
        let idle = [self.master.take_idle_end(), self.slave.take_idle_end()];
        for (stray, idle) in self.strays.iter_mut().zip(idle) {
            if let (Some(word), Some(serving)) = (idle, self.serving) {
                *stray = Some(StrayEnd { word, serving });
            }
            *stray = stray.filter(|stray| in_service & 1 << stray.serving != 0);
        }
        self.serving = self.serving.filter(|irq| in_service & 1 << irq != 0);
    }

    /// Something may have been acknowledged, and `before` was in service until then.
    fn note_service(&mut self, before: u16) {
        let new = self.in_service() & !before;
        let own = (0..16).find(|irq| *irq != CASCADE && new & 1 << irq != 0);
        let new = own.or_else(|| (new & 1 << CASCADE != 0).then_some(CASCADE));
        self.serving = new.or(self.serving);
    }

    /// Reads an edge/level control register; bit n set means level-triggered.
    pub fn read_level_triggered(&self, controller: Controller) -> u8 {
        self.level_triggered[controller as usize]
    }

    /// Writes an edge/level control register; lines that are always edge-triggered stay so.
    pub fn write_level_triggered(&mut self, controller: Controller, value: u8) {
        let value = value & !ALWAYS_EDGE[controller as usize];
        self.level_triggered[controller as usize] = value;
        match controller {
            Controller::Master => self.master.set_level_triggered(value),
            Controller::Slave => self.slave.set_level_triggered(value),
        }
        self.follow_slave();
    }

    /// The in-service registers, master in the low byte.
    pub fn in_service(&self) -> u16 {
        u16::from_le_bytes([self.master.in_service(), self.slave.in_service()])
    }

    /// The interrupt request registers, master in the low byte.
    pub fn requests(&self) -> u16 {
        u16::from_le_bytes([self.master.requests(), self.slave.requests()])
    }

    /// The vector by which `irq` (0–15) comes.
    pub fn vector(&self, irq: u8) -> u8 {
        match irq {
            0..8 => self.master.vector(irq),
            _ => self.slave.vector(irq - 8),
        }
    }

    fn follow_slave(&mut self) {
        self.master.set_line(CASCADE, self.slave.pending().is_some());
    }

    /// A slave's INT falls with INTA and rises again if it has more: the master sees a new edge.
    fn release_slave(&mut self) {
        self.master.set_line(CASCADE, false);
        self.follow_slave();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Linux and most kernels program it: vectors 0x20 and 0x28, nothing masked.
    fn programmed() -> Pic {
        let mut pic = Pic::new();
        for (controller, base, cascade) in
            [(Controller::Master, 0x20, 0x04), (Controller::Slave, 0x28, 0x02)]
        {
            pic.write(controller, 0, 0x11);
            for value in [base, cascade, 0x01, 0x00] {
                pic.write(controller, 1, value);
            }
        }
        pic
    }

    fn pulse(pic: &mut Pic, irq: u8) {
        pic.set_line(irq, false);
        pic.set_line(irq, true);
    }

    fn end(pic: &mut Pic, vector: u8) {
        if vector >= 0x28 {
            pic.write(Controller::Slave, 0, 0x20);
        }
        pic.write(Controller::Master, 0, 0x20);
    }

    #[test]
    fn only_the_timer_arrives_before_the_kernel_unmasks() {
        let mut pic = Pic::new();
        pulse(&mut pic, 1);
        pulse(&mut pic, 8);
        assert!(!pic.pending());
        pulse(&mut pic, 0);
        assert_eq!(pic.acknowledge(), 0x08, "the BIOS's vector");
    }

    #[test]
    fn a_slave_interrupt_is_in_service_in_both_controllers() {
        let mut pic = programmed();
        pulse(&mut pic, 14);
        assert!(pic.pending());
        assert_eq!(pic.acknowledge(), 0x2E);
        assert_eq!(pic.in_service(), 0x4004);
        end(&mut pic, 0x2E);
        assert_eq!(pic.in_service(), 0);
        assert!(!pic.pending());
    }

    #[test]
    fn an_end_that_went_astray_is_told_until_the_right_one_comes() {
        let mut pic = programmed();
        pulse(&mut pic, 0);
        pic.acknowledge();
        assert_eq!(pic.stray_ends(0), [None, None]);
        pic.write(Controller::Slave, 0, 0x20);
        assert_eq!(pic.stray_ends(0), [None, Some(0x20)]);
        assert_eq!(pic.stray_ends(1), [None, None]);
        pic.write(Controller::Master, 0, 0x61);
        assert_eq!(pic.stray_ends(0), [Some(0x61), Some(0x20)]);
        pic.write(Controller::Master, 0, 0x20);
        pulse(&mut pic, 0);
        pic.acknowledge();
        assert_eq!(pic.stray_ends(0), [None, None], "the next one's handler has written none");
        let mut pic = programmed();
        pulse(&mut pic, 8);
        pic.acknowledge();
        for _ in 0..2 {
            pic.write(Controller::Master, 0, 0x20);
        }
        assert_eq!(pic.in_service(), 0x100);
        assert_eq!(pic.stray_ends(8), [Some(0x20), None], "the first was for the cascade");
    }

    #[test]
    fn who_writes_an_end_to_both_controllers_has_sent_none_astray() {
        use Controller::{Master, Slave};
        for order in [[Master, Slave], [Slave, Master]] {
            let mut pic = programmed();
            // IRQ 4 is never ended, and the timer's handler comes in between.
            for (irq, ends) in [(0, true), (4, false), (0, true)] {
                pulse(&mut pic, irq);
                assert_eq!(pic.acknowledge(), 0x20 + irq);
                for controller in order.into_iter().filter(|_| ends) {
                    pic.write(controller, 0, 0x20);
                }
            }
            assert_eq!(pic.in_service(), 0x10);
            assert_eq!([pic.stray_ends(0), pic.stray_ends(4)], [[None, None]; 2], "{order:?}");
        }
    }

    #[test]
    fn priority_runs_0_1_8_to_15_3_to_7() {
        let mut pic = programmed();
        for irq in (0..16).rev() {
            pulse(&mut pic, irq);
        }
        let mut served = Vec::new();
        while pic.pending() {
            let vector = pic.acknowledge();
            served.push(vector - 0x20);
            end(&mut pic, vector);
        }
        assert_eq!(served, [0, 1, 8, 9, 10, 11, 12, 13, 14, 15, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_second_slave_interrupt_waits_for_both_ends() {
        let mut pic = programmed();
        pulse(&mut pic, 14);
        pic.acknowledge();
        pulse(&mut pic, 8);
        assert!(!pic.pending(), "the master's input 2 is in service");
        pic.write(Controller::Master, 0, 0x20);
        assert!(pic.pending(), "8 has priority over 14 in the slave");
        assert_eq!(pic.acknowledge(), 0x28);
    }

    #[test]
    fn the_master_interrupts_a_slave_handler_with_0_and_1_only() {
        let mut pic = programmed();
        pulse(&mut pic, 12);
        pic.acknowledge();
        pulse(&mut pic, 4);
        assert!(!pic.pending());
        pulse(&mut pic, 0);
        assert_eq!(pic.acknowledge(), 0x20);
    }

    #[test]
    fn an_acknowledge_that_comes_too_late_is_a_spurious_irq_7() {
        let mut pic = programmed();
        pulse(&mut pic, 5);
        pic.set_line(5, false);
        assert!(!pic.pending());
        assert_eq!(pic.acknowledge(), 0x27);
        assert_eq!(pic.in_service(), 0, "so it must not be ended");
    }

    #[test]
    fn a_slave_that_icw3_does_not_name_leaves_the_bus_floating() {
        let mut pic = programmed();
        pic.write(Controller::Slave, 0, 0x11);
        for value in [0x28, 0x05, 0x01, 0x00] {
            pic.write(Controller::Slave, 1, value);
        }
        pulse(&mut pic, 8);
        assert_eq!(pic.acknowledge(), 0xFF);
        assert_eq!(pic.astray(), Some(Astray { irq: 8, vector: 0xFF }));
    }

    #[test]
    fn a_slave_that_the_master_knows_nothing_of_comes_as_irq_2() {
        let mut pic = programmed();
        pic.write(Controller::Master, 0, 0x11);
        for value in [0x20, 0x02, 0x01, 0x00] {
            pic.write(Controller::Master, 1, value);
        }
        pulse(&mut pic, 0);
        assert_eq!((pic.acknowledge(), pic.astray()), (0x20, None));
        end(&mut pic, 0x20);
        pulse(&mut pic, 12);
        assert_eq!(pic.acknowledge(), 0x22);
        assert_eq!(pic.astray(), Some(Astray { irq: 12, vector: 0x22 }));
        assert_eq!(pic.cascades(), [0x02, 0x02]);
    }

    #[test]
    fn masks_of_the_slave_and_of_the_cascade_both_count() {
        let mut pic = programmed();
        assert!(!pic.is_masked(8));
        pic.write(Controller::Master, 1, 0x04);
        assert!(pic.is_masked(8) && !pic.is_masked(0));
        pulse(&mut pic, 8);
        assert!(!pic.pending());
        pic.write(Controller::Master, 1, 0x00);
        pic.write(Controller::Slave, 1, 0x01);
        assert!(pic.is_masked(8) && !pic.pending());
    }

    #[test]
    fn the_chipset_keeps_its_own_lines_edge_triggered() {
        let mut pic = programmed();
        pic.write_level_triggered(Controller::Master, 0xFF);
        pic.write_level_triggered(Controller::Slave, 0xFF);
        assert_eq!(pic.read_level_triggered(Controller::Master), 0xF8);
        assert_eq!(pic.read_level_triggered(Controller::Slave), 0xDE);
        pic.set_line(11, true);
        for _ in 0..2 {
            assert_eq!(pic.acknowledge(), 0x2B);
            end(&mut pic, 0x2B);
        }
        pic.set_line(11, false);
        assert!(!pic.pending());
    }

    #[test]
    fn a_poll_of_the_slave_releases_the_cascade() {
        let mut pic = programmed();
        pulse(&mut pic, 9);
        pic.write(Controller::Slave, 0, 0x0C);
        assert_eq!(pic.read(Controller::Slave, 0), 0x81);
        assert!(!pic.pending());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Line(u8, bool),
        Mask(bool, u8),
        Acknowledge,
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u8..16, any::<bool>()).prop_map(|(irq, high)| Step::Line(irq, high)),
            1 => (any::<bool>(), any::<u8>()).prop_map(|(slave, mask)| Step::Mask(slave, mask)),
            2 => Just(Step::Acknowledge),
            1 => Just(Step::End),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn an_interrupt_is_unmasked_requested_and_no_more_often_than_its_edges(steps in steps()) {
            let mut pic = programmed();
            let mut high = [false; 16];
            let mut edges = [0u32; 16];
            let mut served = [0u32; 16];
            let mut nested: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Line(irq, level) => {
                        if level && !high[usize::from(irq)] {
                            edges[usize::from(irq)] += 1;
                        }
                        high[usize::from(irq)] = level;
                        pic.set_line(irq, level);
                    }
                    Step::Mask(false, mask) => pic.write(Controller::Master, 1, mask),
                    Step::Mask(true, mask) => pic.write(Controller::Slave, 1, mask),
                    Step::Acknowledge if pic.pending() => {
                        let irq = pic.acknowledge() - 0x20;
                        prop_assert!(irq < 16 && irq != 2);
                        prop_assert!(!pic.is_masked(irq), "IRQ {irq} is masked");
                        prop_assert!(high[usize::from(irq)], "IRQ {irq} is low");
                        served[usize::from(irq)] += 1;
                        let priority = |irq: u8| if irq < 8 { irq * 8 } else { 16 + irq - 8 };
                        if let Some(below) = nested.last() {
                            prop_assert!(priority(irq) < priority(*below));
                        }
                        nested.push(irq);
                    }
                    Step::Acknowledge => {
                        let before = pic.clone();
                        prop_assert_eq!(pic.acknowledge(), 0x27);
                        prop_assert_eq!(&pic, &before, "a spurious interrupt leaves no trace");
                    }
                    Step::End => {
                        if let Some(irq) = nested.pop() {
                            end(&mut pic, irq + 0x20);
                        }
                    }
                }
            }
            for irq in 0..16 {
                prop_assert!(served[irq] <= edges[irq]);
            }
            while let Some(irq) = nested.pop() {
                end(&mut pic, irq + 0x20);
            }
            prop_assert_eq!(pic.in_service(), 0, "each was ended once");
        }

        #[test]
        fn no_sequence_of_port_accesses_panics(
            accesses in proptest::collection::vec((any::<bool>(), 0u8..3, any::<u8>(), 0u8..16), 0..100),
        ) {
            let mut pic = Pic::new();
            for (slave, address, value, irq) in accesses {
                let controller = if slave { Controller::Slave } else { Controller::Master };
                match address {
                    2 => pic.write_level_triggered(controller, value),
                    _ => pic.write(controller, address, value),
                }
                pic.set_line(irq, value & 1 != 0);
                pic.read(controller, address);
                if pic.pending() {
                    pic.acknowledge();
                }
            }
        }
    }
}

//! One 8259A programmable interrupt controller, as its own pins see it.
//!
//! Source: Intel 8259A data sheet (231468). Section names are cited where they decide. Two of these make
//! a PC's [`Pic`](super::Pic); nothing here knows of the other one but the cascade word, ICW3.
//!
//! ```text
//!  IR0–7 ─► edge latch ─► IRR ─► IMR ─► priority ─► INT
//!                          ▲              ▲
//!                          │  INTA moves  │ blocks its own
//!                          └── one bit ──►ISR level and lower
//! ```
//!
//! A request is the line's business until INTA: where the line falls before, the request is gone
//! ("Edge and Level Triggered Modes"), and INTA then finds none: level 7, with no ISR bit. Emulators
//! often keep an edge for ever instead; then a kernel's handling of spurious interrupts is never tried.
//! The bus timing of INTA, the buffered mode's pin and the CALL sequences of the 8080 are left out: a
//! controller programmed for the 8080 (ICW4 bit 0 clear) answers as for the 8086.

/// Which initialisation word comes next at address 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initialisation {
    Word2,
    Word3,
    Word4,
    Done,
}

/// The state of one controller. Bit n of each mask is input n.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct I8259 {
    line: u8,
    /// Rising edges that wait for INTA.
    latched: u8,
    in_service: u8,
    mask: u8,
    /// Inputs that the chipset makes level-triggered.
    level_triggered: u8,
    /// ICW1 bit 3: all of them are.
    all_level_triggered: bool,
    vector_base: u8,
    /// ICW3: the inputs with a slave on them, or a slave's own number.
    cascade: u8,
    single: bool,
    word4_follows: bool,
    initialisation: Initialisation,
    /// The input of lowest priority; the one behind it has the highest.
    lowest: u8,
    automatic_end: bool,
    rotate_on_automatic_end: bool,
    special_mask: bool,
    special_fully_nested: bool,
    poll: bool,
    read_in_service: bool,
    /// The last end of interrupt that found nothing to end, until it is asked for.
    idle_end: Option<u8>,
}

impl I8259 {
    /// A controller as a BIOS leaves it: initialised for `vector_base` and `cascade`, all masked.
    ///
    /// The hardware's power-on state is undefined until ICW1, so any state is as good, and this one
    /// serves a kernel that only unmasks.
    pub fn new(vector_base: u8, cascade: u8) -> Self {
        Self {
            line: 0,
            latched: 0,
            in_service: 0,
            mask: 0xFF,
            level_triggered: 0,
            all_level_triggered: false,
            vector_base,
            cascade,
            single: false,
            word4_follows: false,
            initialisation: Initialisation::Done,
            lowest: 7,
            automatic_end: false,
            rotate_on_automatic_end: false,
            special_mask: false,
            special_fully_nested: false,
            poll: false,
            read_in_service: false,
            idle_end: None,
        }
    }

    /// Drives input `level` (0–7) high or low.
    pub fn set_line(&mut self, level: u8, high: bool) {
        let bit = 1 << (level & 7);
        if !high {
            self.line &= !bit;
            self.latched &= !bit;
        } else if self.line & bit == 0 {
            self.line |= bit;
            self.latched |= bit;
        }
    }

    /// Which inputs are level-triggered whatever ICW1 says (the chipset's edge/level register).
    pub fn set_level_triggered(&mut self, inputs: u8) {
        self.level_triggered = inputs;
    }

    /// The interrupt request register.
    pub fn requests(&self) -> u8 {
        let level_triggered = if self.all_level_triggered { 0xFF } else { self.level_triggered };
        (self.latched & !level_triggered) | (self.line & level_triggered)
    }

    /// The in-service register.
    pub fn in_service(&self) -> u8 {
        self.in_service
    }

    /// The last OCW2 since this was asked that was to end an interrupt, and found none in service that it could mean.
    pub fn take_idle_end(&mut self) -> Option<u8> {
        self.idle_end.take()
    }

    /// The interrupt mask register.
    pub fn mask(&self) -> u8 {
        self.mask
    }

    /// ICW3: in a master the inputs with a slave, in a slave its own number; 0 for a single controller.
    pub fn cascade(&self) -> u8 {
        if self.single { 0 } else { self.cascade }
    }

    /// The vector for input `level`.
    pub fn vector(&self, level: u8) -> u8 {
        self.vector_base | (level & 7)
    }

    /// The input that INTA would serve; `Some` means that INT is high.
    ///
    /// "Fully Nested Mode": a level in service blocks itself and all lower ones. "Special Mask Mode":
    /// a masked level in service blocks nothing. "Special Fully Nested Mode": an input with a slave
    /// does not block itself.
    pub fn pending(&self) -> Option<u8> {
        if self.initialisation != Initialisation::Done {
            return None;
        }
        let level = self.highest(self.requests() & !self.mask)?;
        let blocking =
            if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        let Some(serving) = self.highest(blocking) else {
            return Some(level);
        };
        let again =
            level == serving && self.special_fully_nested && self.cascade() & (1 << level) != 0;
        (self.rank(level) < self.rank(serving) || again).then_some(level)
    }

    /// INTA: takes the highest request into service. `None` if there is none (any more): the data
    /// sheet's default is level 7, without a bit in the ISR ("Interrupt Sequence").
    pub fn acknowledge(&mut self) -> Option<u8> {
        let level = self.pending()?;
        let bit = 1 << level;
        self.latched &= !bit;
        if self.automatic_end {
            if self.rotate_on_automatic_end {
                self.lowest = level;
            }
        } else {
            self.in_service |= bit;
        }
        Some(level)
    }

    /// Reads at address 0 (IRR or ISR) or 1 (IMR); after a poll command at either, the poll word.
    ///
    /// "Poll Command": the read acts as INTA, and gives bit 7 and the level, or 0 for no request.
    pub fn read(&mut self, address: u8) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |level| 0x80 | level);
        }
        match (address & 1, self.read_in_service) {
            (0, false) => self.requests(),
            (0, true) => self.in_service,
            _ => self.mask,
        }
    }

    /// Writes at address 0 (ICW1, OCW2, OCW3 by bits 4 and 3) or 1 (ICW2–4 in turn, then OCW1).
    pub fn write(&mut self, address: u8, value: u8) {
        if address & 1 == 0 {
            match value & 0x18 {
                0x00 => self.end_or_rotate(value),
                0x08 => self.set_modes(value),
                _ => self.initialise(value),
            }
            return;
        }
        match self.initialisation {
            Initialisation::Word2 => {
                self.vector_base = value & 0xF8;
                self.initialisation = match (self.single, self.word4_follows) {
                    (false, _) => Initialisation::Word3,
                    (true, true) => Initialisation::Word4,
                    (true, false) => Initialisation::Done,
                };
            }
            Initialisation::Word3 => {
                self.cascade = value;
                self.initialisation =
                    if self.word4_follows { Initialisation::Word4 } else { Initialisation::Done };
            }
            Initialisation::Word4 => {
                self.automatic_end = value & 0x02 != 0;
                self.special_fully_nested = value & 0x10 != 0;
                self.initialisation = Initialisation::Done;
            }
            Initialisation::Done => self.mask = value,
        }
    }

    /// ICW1, "Initialization Command Words": the edge sense is reset, so a line that is high has to
    /// fall and rise again; IMR and the modes are cleared; input 7 has the lowest priority.
    /// The data sheet does not name the ISR; every chip in use clears it.
    fn initialise(&mut self, word1: u8) {
        *self = Self {
            line: self.line,
            level_triggered: self.level_triggered,
            mask: 0,
            all_level_triggered: word1 & 0x08 != 0,
            single: word1 & 0x02 != 0,
            word4_follows: word1 & 0x01 != 0,
            initialisation: Initialisation::Word2,
            ..Self::new(self.vector_base, self.cascade)
        };
    }

    /// OCW2: bits 7–5 are rotate, specific and end of interrupt; bits 2–0 the level.
    fn end_or_rotate(&mut self, word: u8) {
        let (rotate, specific, end) = (word & 0x80 != 0, word & 0x40 != 0, word & 0x20 != 0);
        let level = match (specific, end) {
            (true, _) => Some(word & 7),
            // In special mask mode a masked level is not ended by a non-specific command.
            (false, true) if self.special_mask => self.highest(self.in_service & !self.mask),
            (false, true) => self.highest(self.in_service),
            (false, false) => {
                self.rotate_on_automatic_end = rotate;
                return;
            }
        };
        if end && level.is_none_or(|level| self.in_service & 1 << level == 0) {
            self.idle_end = Some(word);
        }
        let Some(level) = level else { return };
        if end {
            self.in_service &= !(1 << level);
        }
        if rotate {
            self.lowest = level;
        }
    }

    /// OCW3: bits 6–5 special mask mode, bit 2 poll, bits 1–0 which register address 0 reads.
    fn set_modes(&mut self, word: u8) {
        match word & 0x60 {
            0x40 => self.special_mask = false,
            0x60 => self.special_mask = true,
            _ => {}
        }
        self.poll = word & 0x04 != 0;
        match word & 0x03 {
            0x02 => self.read_in_service = false,
            0x03 => self.read_in_service = true,
            _ => {}
        }
    }

    /// How many inputs have priority over `level`.
    fn rank(&self, level: u8) -> u8 {
        level.wrapping_sub(self.lowest).wrapping_sub(1) & 7
    }

    fn highest(&self, inputs: u8) -> Option<u8> {
        (0..8).filter(|level| inputs & (1 << level) != 0).min_by_key(|level| self.rank(*level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Initialised for vector 0x20, normal end of interrupt, nothing masked.
    fn controller() -> I8259 {
        with_word4(0x01)
    }

    fn with_word4(word4: u8) -> I8259 {
        let mut controller = I8259::new(0x08, 4);
        controller.write(0, 0x11);
        controller.write(1, 0x20);
        controller.write(1, 0x04);
        controller.write(1, word4);
        controller
    }

    fn pulse(controller: &mut I8259, level: u8) {
        controller.set_line(level, false);
        controller.set_line(level, true);
    }

    fn read_in_service(controller: &mut I8259) -> u8 {
        controller.write(0, 0x0B);
        controller.read(0)
    }

    #[test]
    fn the_lowest_number_has_the_highest_priority_after_initialisation() {
        let mut controller = controller();
        for level in [5, 3, 7] {
            pulse(&mut controller, level);
        }
        assert_eq!(controller.acknowledge(), Some(3));
        assert_eq!(controller.acknowledge(), None, "3 in service blocks 5 and 7");
        pulse(&mut controller, 1);
        assert_eq!(controller.acknowledge(), Some(1), "1 interrupts 3");
        assert_eq!(read_in_service(&mut controller), 0b1010);
        controller.write(0, 0x20);
        assert_eq!(read_in_service(&mut controller), 0b1000, "the highest is ended first");
        controller.write(0, 0x20);
        assert_eq!(controller.acknowledge(), Some(5));
    }

    #[test]
    fn a_specific_end_ends_just_that_level() {
        let mut controller = controller();
        pulse(&mut controller, 4);
        controller.acknowledge();
        pulse(&mut controller, 2);
        controller.acknowledge();
        controller.write(0, 0x60 | 4);
        assert_eq!(read_in_service(&mut controller), 0b100);
    }

    #[test]
    fn a_masked_request_waits_and_is_served_when_unmasked() {
        let mut controller = controller();
        controller.write(1, 0x02);
        pulse(&mut controller, 1);
        assert_eq!(controller.pending(), None);
        assert_eq!(controller.read(0), 0x02, "the IRR is in front of the mask");
        assert_eq!(controller.read(1), 0x02);
        controller.write(1, 0x00);
        assert_eq!(controller.acknowledge(), Some(1));
    }

    #[test]
    fn a_line_that_falls_before_inta_leaves_a_spurious_interrupt() {
        let mut controller = controller();
        pulse(&mut controller, 3);
        controller.set_line(3, false);
        assert_eq!(controller.acknowledge(), None);
        assert_eq!(controller.in_service(), 0);
    }

    #[test]
    fn an_edge_is_served_once_however_long_the_line_stays_high() {
        let mut controller = controller();
        pulse(&mut controller, 3);
        assert_eq!(controller.acknowledge(), Some(3));
        controller.write(0, 0x20);
        assert_eq!(controller.pending(), None);
        controller.set_line(3, true);
        assert_eq!(controller.pending(), None, "high to high is no edge");
    }

    #[test]
    fn a_level_is_served_as_long_as_it_lasts() {
        let mut controller = I8259::new(0x08, 4);
        for (address, value) in [(0, 0x19), (1, 0x20), (1, 0x04), (1, 0x01)] {
            controller.write(address, value);
        }
        controller.set_line(3, true);
        assert_eq!(controller.acknowledge(), Some(3));
        controller.write(0, 0x20);
        assert_eq!(controller.acknowledge(), Some(3));
        controller.set_line(3, false);
        controller.write(0, 0x20);
        assert_eq!(controller.pending(), None);
    }

    #[test]
    fn automatic_end_leaves_nothing_in_service() {
        let mut controller = with_word4(0x03);
        pulse(&mut controller, 3);
        assert_eq!(controller.acknowledge(), Some(3));
        assert_eq!(controller.in_service(), 0);
    }

    #[test]
    fn automatic_rotation_gives_the_served_level_the_lowest_priority() {
        let mut controller = controller();
        // The data sheet's example: IR4 and IR6 ask, IR4 is served and ended with rotation.
        pulse(&mut controller, 4);
        pulse(&mut controller, 6);
        assert_eq!(controller.acknowledge(), Some(4));
        controller.write(0, 0xA0);
        pulse(&mut controller, 4);
        pulse(&mut controller, 5);
        assert_eq!(controller.acknowledge(), Some(5), "5 is now the highest");
        controller.write(0, 0x20);
        assert_eq!(controller.acknowledge(), Some(6));
        controller.write(0, 0x20);
        assert_eq!(controller.acknowledge(), Some(4));

        let mut controller = with_word4(0x03);
        controller.write(0, 0x80);
        for expected in [0, 1, 0, 1] {
            pulse(&mut controller, 0);
            pulse(&mut controller, 1);
            assert_eq!(controller.acknowledge(), Some(expected));
        }
    }

    #[test]
    fn set_priority_and_rotate_on_specific_end_name_the_lowest_level() {
        let mut controller = controller();
        controller.write(0, 0xC0 | 5);
        pulse(&mut controller, 0);
        pulse(&mut controller, 6);
        assert_eq!(controller.acknowledge(), Some(6));
        controller.write(0, 0xE0 | 6);
        assert_eq!(controller.in_service(), 0);
        pulse(&mut controller, 7);
        assert_eq!(controller.acknowledge(), Some(7));
    }

    #[test]
    fn special_mask_mode_lets_lower_levels_through_a_masked_one_in_service() {
        let mut controller = controller();
        pulse(&mut controller, 2);
        controller.acknowledge();
        pulse(&mut controller, 6);
        controller.write(1, 0x04);
        assert_eq!(controller.pending(), None, "the mask alone does not unblock");
        controller.write(0, 0x68);
        assert_eq!(controller.acknowledge(), Some(6));
        controller.write(0, 0x20);
        controller.write(0, 0x20);
        assert_eq!(controller.in_service(), 0x04, "a masked level needs a specific end");
        controller.write(0, 0x62);
        assert_eq!(controller.in_service(), 0);
    }

    #[test]
    fn special_fully_nested_mode_lets_a_slave_interrupt_itself() {
        let mut controller = with_word4(0x11);
        pulse(&mut controller, 2);
        assert_eq!(controller.acknowledge(), Some(2));
        pulse(&mut controller, 3);
        assert_eq!(controller.pending(), None, "lower levels stay blocked");
        pulse(&mut controller, 2);
        assert_eq!(controller.acknowledge(), Some(2));
    }

    #[test]
    fn a_poll_acts_as_inta() {
        let mut controller = controller();
        controller.write(0, 0x0C);
        assert_eq!(controller.read(0), 0x00);
        pulse(&mut controller, 5);
        controller.write(0, 0x0C);
        assert_eq!(controller.read(0), 0x85);
        assert_eq!(read_in_service(&mut controller), 0x20);
    }

    #[test]
    fn initialisation_forgets_edges_masks_and_modes_and_asks_for_nothing_meanwhile() {
        let mut controller = controller();
        controller.write(1, 0xF0);
        controller.write(0, 0x68);
        pulse(&mut controller, 1);
        controller.acknowledge();
        pulse(&mut controller, 0);
        controller.write(0, 0x11);
        assert_eq!(controller.pending(), None);
        controller.write(1, 0x40);
        controller.set_line(2, true);
        assert_eq!(controller.pending(), None, "still in its initialisation");
        controller.write(1, 0x04);
        controller.write(1, 0x01);
        assert_eq!(controller.read(1), 0x00);
        assert_eq!(controller.in_service(), 0);
        assert_eq!(controller.acknowledge(), Some(2), "0 was high before ICW1: no edge");
        assert_eq!(controller.vector(2), 0x42);
    }

    #[test]
    fn a_single_controller_without_word_4_takes_two_words() {
        let mut controller = I8259::new(0, 4);
        controller.write(0, 0x12);
        controller.write(1, 0x50);
        controller.write(1, 0xFE);
        assert_eq!(controller.mask(), 0xFE);
        assert_eq!(controller.cascade(), 0);
    }
}

//! The transfer mode that SET FEATURES 03 selects. Nothing here is faster or slower for it: it is kept to be told.
//!
//! Source: ATA/ATAPI-6 (T13/1410D), section 8, SET FEATURES ("Set transfer mode"); 8.15 for words 63 and 88.

/// SET FEATURES: this mode.
pub const SET_MODE: u8 = 0x03;

const PIO: [std::ops::RangeInclusive<u8>; 2] = [0x00..=0x01, 0x08..=0x0C];
const MULTIWORD: std::ops::RangeInclusive<u8> = 0x20..=0x22;
const ULTRA: std::ops::RangeInclusive<u8> = 0x40..=0x45;

/// The mode of DMA, multiword 0 to 2 or Ultra 0 to 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaMode(u8);

impl Default for DmaMode {
    /// The fastest, as a BIOS selects it.
    fn default() -> Self {
        Self(*ULTRA.end())
    }
}

impl DmaMode {
    /// Selects the mode with this number; one of PIO's leaves that of DMA as it is. None if there is no such mode.
    pub fn select(&mut self, mode: u8) -> Option<()> {
        if MULTIWORD.contains(&mode) || ULTRA.contains(&mode) {
            self.0 = mode;
            return Some(());
        }
        PIO.iter().any(|modes| modes.contains(&mode)).then_some(())
    }

    /// Word 63: multiword modes that there are, and above them the selected one.
    pub fn multiword(self) -> u16 {
        0x0007 | self.selected(&MULTIWORD)
    }

    /// Word 88: the same of Ultra DMA.
    pub fn ultra(self) -> u16 {
        0x003F | self.selected(&ULTRA)
    }

    fn selected(self, modes: &std::ops::RangeInclusive<u8>) -> u16 {
        if modes.contains(&self.0) { 0x100 << (self.0 & 7) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mode_of_dma_is_selected_at_a_time_and_none_by_a_mode_of_pio() {
        let mut mode = DmaMode::default();
        assert_eq!((mode.multiword(), mode.ultra()), (0x0007, 0x203F));
        assert_eq!(mode.select(0x22), Some(()));
        assert_eq!((mode.multiword(), mode.ultra()), (0x0407, 0x003F));
        assert_eq!(mode.select(0x0C), Some(()));
        assert_eq!(mode.multiword(), 0x0407);
        for unknown in [0x02, 0x0D, 0x10, 0x23, 0x46, 0xFF] {
            assert_eq!(mode.select(unknown), None, "{unknown:#x}");
        }
    }
}

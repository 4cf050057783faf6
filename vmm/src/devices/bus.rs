//! The bus: which port or address belongs to which device's register.
//!
//! The table is code, not a map filled at run time: the machine is fixed, and the compiler checks that
//! each register is served. (One device's ports can be moved, those of the IDE function's bus masters: PCI configuration
//! knows where they are.) Most registers are a byte wide. As on the ISA bus, an access of 2 or 4 bytes to
//! them is that many accesses at ascending ports. A register that is wider takes its access whole
//! ([`Wide`]), whatever else lies at the ports beside it: a double word for 0xCF8 never reaches 0xCF9.

use super::pic::Controller;
use super::serial::Port;
use super::{hpet, ide, io_apic, local_apic, power};

/// How many bytes one `in` or `out` moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessSize {
    /// 1 byte, AL.
    Byte,
    /// 2 bytes, AX.
    Word,
    /// 4 bytes, EAX.
    Doubleword,
}

impl AccessSize {
    /// The size for a number of bytes, as KVM gives it; `None` unless that is 1, 2 or 4.
    pub fn from_bytes(bytes: u8) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Doubleword),
            _ => None,
        }
    }

    /// The number of bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Doubleword => 4,
        }
    }

    /// The bits that an access of this size moves.
    pub fn mask(self) -> u32 {
        u32::MAX >> (32 - 8 * self.bytes())
    }
}

/// A register of a byte, by the port at which it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// An interrupt controller at address 0 or 1.
    Pic(Controller, u8),
    /// An interrupt controller's edge/level register.
    EdgeLevel(Controller),
    /// The timer's counter 0–2.
    Counter(usize),
    /// The timer's control word.
    TimerControl,
    /// The keyboard controller's data.
    KeyboardData,
    /// The keyboard controller's status and command.
    KeyboardCommand,
    /// Speaker, refresh toggle: system control port B.
    Speaker,
    /// The CMOS memory's index.
    CmosIndex,
    /// The CMOS memory's data.
    CmosData,
    /// A register of a DMA controller, 0–15.
    Dma(usize, u8),
    /// The DMA page registers, of which the first is a PC's POST code, written for a short delay.
    DmaPage(u8),
    /// A register of the floppy controller.
    Floppy(u8),
    /// A VGA register.
    Vga(u16),
    /// A register of an IDE channel.
    Ide(usize, u8),
    /// A register of an IDE channel's bus master.
    BusMaster(usize, u8),
    /// The first parallel port's register 0–2.
    Parallel(u8),
    /// A20 and fast reset: system control port A.
    FastA20,
    /// The debug console.
    DebugConsole,
    /// The firmware configuration's data.
    FirmwareData,
    /// A serial port's register 0–7.
    Serial(Port, u8),
    /// The chipset's reset control.
    ResetControl,
}

impl Register {
    /// The register at a port, if there is one.
    pub fn at(port: u16) -> Option<Self> {
        Some(match port {
            0x20 | 0x21 => Self::Pic(Controller::Master, (port & 1) as u8),
            0x40..=0x42 => Self::Counter(usize::from(port - 0x40)),
            0x43 => Self::TimerControl,
            0x60 => Self::KeyboardData,
            0x61 => Self::Speaker,
            0x64 => Self::KeyboardCommand,
            0x70 => Self::CmosIndex,
            0x71 => Self::CmosData,
            0x00..=0x0F => Self::Dma(0, port as u8),
            0xC0..=0xDF if port & 1 == 0 => Self::Dma(1, ((port - 0xC0) / 2) as u8),
            0x80..=0x8F => Self::DmaPage((port & 0xF) as u8),
            0x92 => Self::FastA20,
            0xA0 | 0xA1 => Self::Pic(Controller::Slave, (port & 1) as u8),
            0xE9 => Self::DebugConsole,
            0x171..=0x177 => Self::Ide(1, (port - 0x170) as u8),
            0x1F1..=0x1F7 => Self::Ide(0, (port - 0x1F0) as u8),
            0x376 => Self::Ide(1, ide::CONTROL),
            0x3F6 => Self::Ide(0, ide::CONTROL),
            0x378..=0x37A => Self::Parallel((port - 0x378) as u8),
            0x3C0..=0x3DA => Self::Vga(port),
            0x3F0..=0x3F5 | 0x3F7 => Self::Floppy((port & 7) as u8),
            0x2F8..=0x2FF => Self::Serial(Port::Second, (port & 7) as u8),
            0x3F8..=0x3FF => Self::Serial(Port::First, (port & 7) as u8),
            // Read by bytes, both are the data.
            0x510 | 0x511 => Self::FirmwareData,
            0x4D0 => Self::EdgeLevel(Controller::Master),
            0x4D1 => Self::EdgeLevel(Controller::Slave),
            0xCF9 => Self::ResetControl,
            _ => return None,
        })
    }
}

/// A register that takes an access of more than a byte whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wide {
    /// The exit port; a number of any size.
    Exit,
    /// The address of PCI configuration: a double word.
    PciAddress,
    /// PCI configuration data, so many bytes behind 0xCFC.
    PciData(u16),
    /// Data of an IDE channel, in pieces of any size.
    IdeData(usize),
    /// The selector of the firmware configuration: a word.
    FirmwareSelector,
    /// The index of Bochs' VBE registers: a word.
    VbeIndex,
    /// The VBE register of that index: a word.
    VbeData,
    /// A register of ACPI's fixed hardware: a word or a double word.
    Power(u16),
}

impl Wide {
    /// The register that decodes an access of `size` at `port`, if it is one of these.
    pub fn at(port: u16, size: AccessSize) -> Option<Self> {
        match port {
            0xF4 => Some(Self::Exit),
            0x170 => Some(Self::IdeData(1)),
            0x1F0 => Some(Self::IdeData(0)),
            0x1CE if size == AccessSize::Word => Some(Self::VbeIndex),
            0x1CF if size == AccessSize::Word => Some(Self::VbeData),
            0x510 if size == AccessSize::Word => Some(Self::FirmwareSelector),
            0xCF8 if size == AccessSize::Doubleword => Some(Self::PciAddress),
            0xCFC..=0xCFF => Some(Self::PciData(port - 0xCFC)),
            0x600 | 0x602 | 0x604 | 0x608 | power::OLD_CONTROL if size != AccessSize::Byte => {
                Some(Self::Power(port))
            }
            _ => None,
        }
    }
}

/// A page of registers in memory, and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The local APIC.
    LocalApic(u16),
    /// The I/O APIC.
    IoApic(u16),
    /// The high precision event timer.
    Hpet(u16),
}

impl Page {
    /// The page at a guest physical address, if there is one.
    pub fn at(address: u64) -> Option<Self> {
        let within = |base: u64, size: u64| {
            let offset = address.checked_sub(base)?;
            (offset < size).then_some(offset as u16)
        };
        within(local_apic::BASE, local_apic::SIZE)
            .map(Self::LocalApic)
            .or_else(|| within(io_apic::BASE, io_apic::SIZE).map(Self::IoApic))
            .or_else(|| within(hpet::BASE, hpet::SIZE).map(Self::Hpet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ports_lead_to_their_registers() {
        assert_eq!(Register::at(0x3FD), Some(Register::Serial(Port::First, 5)));
        assert_eq!(Register::at(0xA1), Some(Register::Pic(Controller::Slave, 1)));
        assert_eq!(Register::at(0x42), Some(Register::Counter(2)));
        assert_eq!(Register::at(0x3F7), Some(Register::Floppy(7)));
        assert_eq!(Register::at(0xC4), Some(Register::Dma(1, 2)));
        assert_eq!([0x510, 0x511].map(Register::at), [Some(Register::FirmwareData); 2]);
        assert_eq!(Register::at(0x400), None);
    }

    #[test]
    fn a_wide_register_takes_its_own_width_only() {
        assert_eq!(Wide::at(0xCF8, AccessSize::Doubleword), Some(Wide::PciAddress));
        assert_eq!(Wide::at(0xCF8, AccessSize::Byte), None);
        assert_eq!(Wide::at(0xCF9, AccessSize::Byte), None);
        assert_eq!(Wide::at(0xCFE, AccessSize::Word), Some(Wide::PciData(2)));
        assert_eq!(Page::at(0xFEE0_0020), Some(Page::LocalApic(0x20)));
        assert_eq!(Page::at(0xFEC0_0010), Some(Page::IoApic(0x10)));
        assert_eq!(Page::at(0xFED0_00F4), Some(Page::Hpet(0xF4)));
        assert_eq!(Page::at(0xFED0_0400), None);
    }

    #[test]
    fn kvm_gives_sizes_of_one_two_and_four_bytes() {
        for size in 0..=8 {
            let expected = matches!(size, 1 | 2 | 4).then_some(usize::from(size));
            assert_eq!(AccessSize::from_bytes(size).map(AccessSize::bytes), expected);
        }
    }
}

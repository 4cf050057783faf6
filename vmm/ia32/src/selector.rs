//! Segment selectors (SDM vol. 3A, "Segment selectors").

use core::fmt;

/// Which descriptor table a selector points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The global descriptor table.
    Gdt,
    /// The local descriptor table of the current task.
    Ldt,
}

/// A 16-bit segment selector: index, table indicator, requested privilege level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(pub u16);

impl Selector {
    /// Requested privilege level, 0 to 3. In CS and SS it is the current privilege level.
    pub const fn rpl(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// The table that the index counts in.
    pub const fn table(self) -> Table {
        if self.0 & 4 == 0 { Table::Gdt } else { Table::Ldt }
    }

    /// Byte offset of the descriptor in its table.
    pub const fn offset(self) -> u32 {
        (self.0 & !7) as u32
    }

    /// A null selector: the first entry of the GDT, with any requested privilege level.
    pub const fn is_null(self) -> bool {
        self.0 & !3 == 0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_linux_0_12_user_selectors_are_read() {
        let code = Selector(0x0f);
        assert_eq!((code.rpl(), code.table(), code.offset()), (3, Table::Ldt, 8));
        assert!(!code.is_null());
        assert!(Selector(3).is_null());
        assert!(!Selector(4).is_null());
    }
}

//! The port that is read again and again, and gives the same each time.

/// A row of reads of one port by bytes, all with the same answer. Writes do not end it, nor do reads of other ports by
/// handlers, as long as the answer stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polled {
    /// The port.
    pub port: u16,
    /// What it gave.
    pub value: u8,
    /// How often in a row.
    pub row: u64,
}

impl Polled {
    /// A byte was read.
    #[inline]
    pub(super) fn read(&mut self, port: u16, value: u8) {
        if (self.port, self.value) == (port, value) {
            self.row += 1;
        } else if self.port == port || self.row < 2 {
            *self = Self { port, value, row: 1 };
        } else {
            // Another port, in between: what is polled is read twice as often at least.
            self.row -= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_goes_on_over_what_a_handler_reads_and_ends_with_another_answer() {
        let mut polled = Polled::default();
        for _ in 0..10 {
            polled.read(0x3fd, 0x60);
        }
        polled.read(0x60, 0x1e);
        polled.read(0x3fd, 0x60);
        assert_eq!(polled, Polled { port: 0x3fd, value: 0x60, row: 9 });
        polled.read(0x3fd, 0x61);
        assert_eq!(polled.row, 1);
        polled.read(0x60, 0x1e);
        assert_eq!(polled, Polled { port: 0x60, value: 0x1e, row: 1 });
    }
}

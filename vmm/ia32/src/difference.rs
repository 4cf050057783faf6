//! Where a state differs from the one that the model expects.

use crate::outcome::{LDTR, Undefined};
use crate::{General, Segment, SegmentRegister, State};

/// A field of the state that is not as expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// The field: `ESP`, `CS base`, `CR2`.
    pub field: &'static str,
    /// What the model says.
    pub expected: u32,
    /// What was found.
    pub got: u32,
    /// Bits that may differ.
    pub undefined: u32,
}

/// Selector, attributes, base and limit of a register.
type SegmentNames = [&'static str; 4];

const SEGMENTS: [SegmentNames; 6] = [
    ["ES", "ES attributes", "ES base", "ES limit"],
    ["CS", "CS attributes", "CS base", "CS limit"],
    ["SS", "SS attributes", "SS base", "SS limit"],
    ["DS", "DS attributes", "DS base", "DS limit"],
    ["FS", "FS attributes", "FS base", "FS limit"],
    ["GS", "GS attributes", "GS base", "GS limit"],
];
const FIELDS: usize = 52;

impl Undefined {
    /// The fields in which `got` is not what `expected` allows.
    ///
    /// Of a register that holds null only that it cannot be used counts; of TR's type the busy bit
    /// does not count, which AMD's processors do not keep in the hidden part.
    ///
    /// ```
    /// use ia32::{State, Undefined};
    /// let expected = State::default();
    /// let got = State { eip: 4, ..expected };
    /// let differences: Vec<_> = Undefined::default().differences(&expected, &got).collect();
    /// assert_eq!((differences[0].field, differences[0].got), ("EIP", 4));
    /// assert_eq!(differences.len(), 1);
    /// ```
    pub fn differences(
        &self,
        expected: &State,
        got: &State,
    ) -> impl Iterator<Item = Difference> + use<> {
        let mut list = List { fields: [Difference::default(); FIELDS], length: 0 };
        let general = expected.general.to_array().into_iter().zip(got.general.to_array());
        for ((field, (e, g)), open) in
            General::NAMES.into_iter().zip(general).zip(self.general.to_array())
        {
            list.add(field, e, g, open);
        }
        list.add("EIP", expected.eip, got.eip, 0);
        list.add("EFLAGS", expected.eflags.0, got.eflags.0, self.eflags.0);
        for register in SegmentRegister::ALL {
            let number = register as u8;
            let names = SEGMENTS[register as usize];
            let (e, g) = (expected.segment(register), got.segment(register));
            if self.selectors & (1 << number) == 0 {
                list.add_segment(names, e, g, self.is_hidden(number), 0);
            }
        }
        const BUSY: u32 = 2;
        let tr = ["TR", "TR attributes", "TR base", "TR limit"];
        list.add_segment(tr, &expected.tr, &got.tr, false, BUSY);
        let ldtr = ["LDTR", "LDTR attributes", "LDTR base", "LDTR limit"];
        list.add_segment(ldtr, &expected.ldtr, &got.ldtr, self.is_hidden(LDTR), 0);
        for (field, e, g, open) in [
            ("GDTR base", expected.gdtr.base, got.gdtr.base, 0),
            ("GDTR limit", expected.gdtr.limit.into(), got.gdtr.limit.into(), 0),
            ("IDTR base", expected.idtr.base, got.idtr.base, 0),
            ("IDTR limit", expected.idtr.limit.into(), got.idtr.limit.into(), 0),
            ("CR0", expected.cr0, got.cr0, 0),
            ("CR2", expected.cr2, got.cr2, 0),
            ("CR3", expected.cr3, got.cr3, self.cr3),
            ("CR4", expected.cr4, got.cr4, 0),
            ("interrupt shadow", expected.interrupt_shadow.into(), got.interrupt_shadow.into(), 0),
            ("NMI blocking", expected.nmi_blocked.into(), got.nmi_blocked.into(), 0),
        ] {
            list.add(field, e, g, open);
        }
        list.fields.into_iter().take(list.length)
    }
}

struct List {
    fields: [Difference; FIELDS],
    length: usize,
}

impl List {
    fn add(&mut self, field: &'static str, expected: u32, got: u32, undefined: u32) {
        if (expected ^ got) & !undefined == 0 {
            return;
        }
        if let Some(free) = self.fields.get_mut(self.length) {
            *free = Difference { field, expected, got, undefined };
            self.length += 1;
        }
    }

    fn add_segment(
        &mut self,
        names: SegmentNames,
        expected: &Segment,
        got: &Segment,
        hidden: bool,
        open: u32,
    ) {
        const PRESENT: u32 = 1 << 7;
        let [selector, attributes, base, limit] = names;
        self.add(selector, expected.selector.into(), got.selector.into(), 0);
        let open = if hidden { !PRESENT } else { open };
        self.add(attributes, expected.attributes.into(), got.attributes.into(), open);
        if !hidden {
            self.add(base, expected.base, got.base, 0);
            self.add(limit, expected.limit, got.limit, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn every_field_is_compared() {
        let expected = State::default();
        let segment = Segment { selector: 1, attributes: 1, base: 1, limit: 1 };
        let got = State {
            general: crate::General::from_array([1; 8]),
            eip: 1,
            eflags: crate::Eflags(1),
            segments: [segment; 6],
            tr: segment,
            ldtr: segment,
            gdtr: crate::TableRegister { base: 1, limit: 1 },
            idtr: crate::TableRegister { base: 1, limit: 1 },
            cr0: 1,
            cr2: 1,
            cr3: 1,
            cr4: 1,
            interrupt_shadow: 1,
            nmi_blocked: true,
        };
        let found: Vec<_> = Undefined::default().differences(&expected, &got).collect();
        assert_eq!(found.len(), FIELDS);
    }

    #[test]
    fn what_is_open_is_not_compared() {
        let mut undefined = Undefined { hidden: 1, selectors: 1 << 5, ..Undefined::default() };
        undefined.general.esp = 0xffff_0000;
        let expected = State::default();
        let mut got = expected;
        got.general.esp = 0xabcd_0000;
        got.segments[0] = Segment { selector: 0, attributes: 0x13, base: 7, limit: 7 };
        got.segments[5].selector = 9;
        assert_eq!(undefined.differences(&expected, &got).count(), 0);
        // A register that can be used where a null one is expected is one that differs.
        got.segments[0].attributes |= 0x80;
        assert_eq!(undefined.differences(&expected, &got).count(), 1);
    }
}

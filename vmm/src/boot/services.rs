//! The BIOS's services, of which there are none behind a kernel that is loaded directly, and how asking for one is seen.
//!
//! A kernel may go back to real mode, or to a virtual-8086 task, and ask the BIOS: `int 0x10` for the screen, `int 0x13`
//! for a disk, `int 0x15` for memory. The vectors lead to 16-bit code that tells esp0 by a port of its own, sets CF, by
//! which these services say that they have failed, and returns:
//! ```text
//!  vector 10 ──►  F004:6B00  OUT 0xEC, AL ; CF = 1 in the FLAGS on the stack ; IRET
//!  …                         the same, 16 bytes further for each vector
//!  vector 1A ──►  F00E:6B00
//! ```
//! Why the segment tells vectors apart, and not the offset: a kernel that calls a null pointer runs through the interrupt
//! table. With this offset the table is `add [ebx+…], ch` as 32-bit code, as it is with the vectors of the 8259s, and what
//! happens behind it is what happens in memory that nobody has written to.
//!
//! Source: IBM PS/2 and PC BIOS Interface Technical Reference, "Interrupts".

/// The first and the last vector of a service.
const VECTORS: std::ops::RangeInclusive<u8> = 0x10..=0x1A;
/// The first vector's segment, the offset of all, and the physical address of the first.
const SEGMENT: u16 = 0xF004;
const OFFSET: u16 = 0x6B00;
const CODE: u32 = (SEGMENT as u32) * 16 + OFFSET as u32;
/// Bytes from one vector's code to the next one's: a segment.
const STRIDE: u32 = 16;

/// The port by which a service says that it was asked for. No device has it.
pub const PORT: u16 = 0xEC;

/// The vectors of the services, and their code: bytes, and the physical address at which they belong.
pub(super) fn vectors_and_code() -> [(u32, Vec<u8>); 2] {
    // OUT PORT, AL; PUSH BP; MOV BP, SP; OR BYTE [BP+6], 1; POP BP; IRET.
    let code =
        [0xE6, PORT as u8, 0x55, 0x89, 0xE5, 0x80, 0x4E, 0x06, 0x01, 0x5D, 0xCF, 0, 0, 0, 0, 0];
    let vectors = (SEGMENT..).take(VECTORS.count());
    let vectors =
        vectors.flat_map(|segment| [OFFSET.to_le_bytes(), segment.to_le_bytes()].concat());
    let table = u32::from(*VECTORS.start()) * 4;
    [(table, vectors.collect()), (CODE, code.repeat(VECTORS.count()))]
}

/// The vector of the service whose OUT stands at this linear address, or has just been executed there.
pub fn asked(address: u32) -> Option<u8> {
    let index = u8::try_from(address.checked_sub(CODE)? / STRIDE).ok()?;
    VECTORS.clone().nth(index.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vector_leads_to_code_of_its_own_that_tells_which_it_is() {
        let [(table, vectors), (start, code)] = vectors_and_code();
        assert_eq!((table, vectors.len()), (0x40, 11 * 4));
        for (vector, entry) in (0x10..).zip(vectors.chunks(4)) {
            let [ip, cs] = [0, 2].map(|at| u16::from_le_bytes([entry[at], entry[at + 1]]));
            let at = u32::from(cs) * 16 + u32::from(ip);
            assert_eq!(asked(at), Some(vector));
            assert_eq!(asked(at + 2), Some(vector), "behind its OUT");
            let code = &code[(at - start) as usize..][..11];
            assert_eq!((&code[..2], code[10]), (&[0xE6, 0xEC][..], 0xCF));
            // As 32-bit code: add [ebx+displacement], ch; and the lock prefix of the next.
            assert_eq!([entry[0], entry[1], entry[3]], [0x00, 0x6B, 0xF0]);
        }
        assert_eq!((asked(start - 1), asked(start + 11 * STRIDE)), (None, None));
    }
}

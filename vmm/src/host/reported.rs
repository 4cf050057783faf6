//! How KVM reports a state: not all that a processor keeps comes through.

use ia32::{Segment, State, Vendor};

const ACCESSED: u16 = 1;
const BUSY: u16 = 2;
const GRANULARITY: u16 = 1 << 15;

/// `state` in the form in which KVM reports it on a processor of this vendor. What comes from KVM has it
/// already; what comes from the model has to be brought into it before the two are compared.
///
/// - kvm_amd derives G from the limit, shows DS, ES, FS and GS as accessed and TR as busy, and gives SS the
///   CPL as its DPL (Linux, arch/x86/kvm/svm/svm.c, svm_get_segment).
/// - kvm_intel sets the accessed bit of all but LDTR when it is given a state, as the processor asks (Linux,
///   arch/x86/kvm/vmx/vmx.c, \_\_vmx_set_segment).
pub fn reported(state: &State, vendor: Vendor) -> State {
    let mut state = *state;
    match vendor {
        Vendor::Amd => {
            for segment in state.segments.iter_mut().chain([&mut state.tr, &mut state.ldtr]) {
                segment.attributes = granular(segment);
            }
            // ES, DS, FS, GS.
            for index in [0, 3, 4, 5] {
                set_if_present(&mut state.segments[index], ACCESSED);
            }
            set_if_present(&mut state.tr, BUSY);
        }
        Vendor::Intel => {
            for segment in &mut state.segments {
                set_if_present(segment, ACCESSED);
            }
        }
    }
    state
}

/// The attributes with G where the limit needs it, and nowhere else: the only form that all KVMs take.
pub(crate) fn granular(segment: &Segment) -> u16 {
    let large = segment.limit > 0xf_ffff;
    segment.attributes & !GRANULARITY | if large { GRANULARITY } else { 0 }
}

fn set_if_present(segment: &mut Segment, bits: u16) {
    if segment.present() {
        segment.attributes |= bits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each register byte-granular with a limit that is larger, not accessed.
    fn state() -> State {
        let segment = Segment { attributes: 0x4092, limit: 0xffff_ffff, ..Segment::default() };
        State { segments: [segment; 6], tr: segment, ldtr: segment, ..State::default() }
    }

    #[test]
    fn kvm_amd_keeps_the_accessed_bit_of_cs_and_ss_alone() {
        let state = reported(&state(), Vendor::Amd);
        let attributes = state.segments.map(|segment| segment.attributes);
        assert_eq!(attributes, [0xc093, 0xc092, 0xc092, 0xc093, 0xc093, 0xc093]);
        assert_eq!((state.tr.attributes, state.ldtr.attributes), (0xc092, 0xc092));
    }

    #[test]
    fn kvm_intel_keeps_granularity() {
        let state = reported(&state(), Vendor::Intel);
        assert!(state.segments.iter().all(|segment| segment.attributes == 0x4093));
        assert_eq!(state.tr.attributes, 0x4092);
    }

    #[test]
    fn a_register_that_holds_nothing_stays_so() {
        let nothing = State::default();
        assert_eq!(reported(&nothing, Vendor::Amd), nothing);
        assert_eq!(reported(&nothing, Vendor::Intel), nothing);
    }
}

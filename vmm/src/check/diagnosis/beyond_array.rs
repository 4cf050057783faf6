//! An ESP0 that is a multiple of a stack's size beyond its start: the size was added to a pointer to its elements.
//!
//! ```text
//!  uint32_t kstack[1024];     kstack ─────────► end of kstack                              ESP0
//!                               │ 4096 bytes      │                                         │
//!  kstack + 4096                └─────────────────┴──── 12 KiB of something else's ─────────┘ 4 × 4096
//! ```
//! Asked once a kernel has died, of one whose file tells the types of its variables.

use super::Aftermath;
use crate::check::{Finding, History};
use crate::symbols::Array;
use ia32::TssWidth;

/// No kernel stack has less room.
const SMALLEST: u32 = 512;

/// Says so of the stack that the kernel was entered on.
pub(super) fn explain(finding: &mut Finding, aftermath: &Aftermath<'_>, history: &History) {
    let (state, Some(arrays)) = (&aftermath.end.state, aftermath.arrays) else { return };
    let linear = aftermath.linear(state);
    if state.cpl() != 0 || TssWidth::from_type(state.tr.ty()) != Some(TssWidth::Bits32) {
        return;
    }
    let place = state.tr.base.wrapping_add(4);
    let Some(esp0) = linear.read_u32(place).filter(|esp0| history.was_entered(*esp0)) else {
        return;
    };
    let unused = |array: &Array| {
        let mut bytes = vec![0; (array.end - array.start) as usize];
        linear.read(array.start, &mut bytes).is_some() && bytes.iter().all(|one| *one == bytes[0])
    };
    let Some((array, holder)) = pair(&arrays(), esp0, unused) else { return };
    let Array { name, start, end, element, .. } = &array;
    let size = end - start;
    let reason = finding.reason.take().map_or_else(String::new, |reason| format!("{reason}; "));
    let count = size / element;
    let advice = format!(
        "add the size to the address as a number, or {count}, the number of elements, to the array: a pointer to elements of \
         {element} bytes moves by {element} for each 1 that is added"
    );
    let because = format!(
        "{reason}ESP0 {esp0:08x} is {element} × {size} bytes behind the start of `{name}`, which has {size} bytes, at \
         {start:08x}, and was never used: the stack lies in `{}`, {} bytes behind its start",
        holder.name,
        esp0 - holder.start
    );
    let told = finding.clone().because(because).advise(advice);
    *finding = told.stored_at(aftermath.word(state, place));
}

/// The array whose size was multiplied, and that in which ESP0 lies.
fn pair(arrays: &[Array], esp0: u32, unused: impl Fn(&Array) -> bool) -> Option<(Array, Array)> {
    let last = esp0.wrapping_sub(1);
    // In an array of stacks it may be right, and at the end of any.
    let mut holders = arrays.iter().filter(|one| (one.start..one.end).contains(&last));
    let holder = holders.next().filter(|one| !one.of_records && one.end != esp0)?;
    let multiplied = |one: &&Array| {
        let size = one.end - one.start;
        one.element > 1
            && !one.of_records
            && size >= SMALLEST
            && size.checked_mul(one.element).and_then(|all| one.start.checked_add(all))
                == Some(esp0)
            && one.start != holder.start
    };
    let array = arrays.iter().filter(multiplied).find(|one| unused(one))?;
    Some((array.clone(), holder.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str, start: u32, size: u32, element: u32) -> Array {
        Array { name: name.into(), start, end: start + size, element, of_records: false }
    }

    #[test]
    fn a_size_that_was_added_to_a_pointer_is_told_by_where_esp0_lies() {
        let arrays = [array("kstack", 0x1000, 0x1000, 4), array("heap", 0x2000, 0x8000, 4)];
        let found = pair(&arrays, 0x5000, |_| true);
        assert_eq!(
            found.map(|(one, other)| (one.name, other.name)),
            Some(("kstack".into(), "heap".into()))
        );
        // A page directory that is in use lies there by chance.
        assert_eq!(pair(&arrays, 0x5000, |_| false), None);
        assert_eq!(pair(&arrays, 0x4000, |_| true), None);
        // Another stack ends there, or may end there.
        let ends = [array("kstack", 0x1000, 0x1000, 4), array("other", 0x2000, 0x3000, 1)];
        assert_eq!(pair(&ends, 0x5000, |_| true), None);
        let mut stacks = array("stacks", 0x2000, 0x8000, 0x1000);
        stacks.of_records = true;
        assert_eq!(pair(&[array("kstack", 0x1000, 0x1000, 4), stacks], 0x5000, |_| true), None);
        // Bytes are added one by one.
        let bytes = [array("kstack", 0x1000, 0x1000, 1), array("heap", 0x2000, 0x8000, 4)];
        assert_eq!(pair(&bytes, 0x5000, |_| true), None);
    }
}

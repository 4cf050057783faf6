//! The heap: first fit, in a list of free pieces by address, over memory that `grow` gives.
//!
//! For programs of one thread: whoever starts threads allocates in one of them only.

use crate::call;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::ptr::null_mut;

/// A free piece begins with its length and where the next one is.
#[repr(C)]
struct Piece {
    length: usize,
    next: *mut Piece,
}

/// Pieces are multiples of this, and begin at multiples.
const GRAIN: usize = size_of::<Piece>();

/// At least so much is asked of the kernel at a time, in bytes.
const STEP: usize = 16 * 1024;

struct Heap {
    first: Cell<*mut Piece>,
}

// SAFETY: one thread uses it, as the module says.
unsafe impl Sync for Heap {}

#[global_allocator]
static HEAP: Heap = Heap { first: Cell::new(null_mut()) };

const fn rounded(layout: Layout) -> usize {
    let length = if layout.size() == 0 { 1 } else { layout.size() };
    length.next_multiple_of(GRAIN)
}

// SAFETY: pieces do not overlap, are as long as asked for, and begin on a page or a grain; what
// wants more than a grain's alignment is refused.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > GRAIN {
            return null_mut();
        }
        let length = rounded(layout);
        // SAFETY: the list holds free pieces only.
        unsafe { self.take(length).or_else(|| self.more(length).and_then(|()| self.take(length))) }
            .unwrap_or(null_mut())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the piece came from `alloc`, with this length.
        unsafe { self.put(pointer, rounded(layout)) };
    }
}

impl Heap {
    /// The end of the first piece that is long enough.
    unsafe fn take(&self, length: usize) -> Option<*mut u8> {
        let mut link: *mut *mut Piece = self.first.as_ptr();
        // SAFETY: links lead from piece to piece, all of them free and ours.
        unsafe {
            while !(*link).is_null() {
                let piece = *link;
                if (*piece).length >= length {
                    (*piece).length -= length;
                    let rest = (*piece).length;
                    if rest == 0 {
                        *link = (*piece).next;
                    }
                    return Some(piece.cast::<u8>().add(rest));
                }
                link = &raw mut (*piece).next;
            }
        }
        None
    }

    /// Puts a piece into the list, and makes one of those that touch.
    unsafe fn put(&self, start: *mut u8, length: usize) {
        let piece: *mut Piece = start.cast();
        let mut before: *mut Piece = null_mut();
        let mut after = self.first.get();
        // SAFETY: as in `take`; the new piece is nobody's any more.
        unsafe {
            while !after.is_null() && after < piece {
                (before, after) = (after, (*after).next);
            }
            piece.write(Piece { length, next: after });
            if !after.is_null() && start.add(length) == after.cast() {
                piece.write(Piece { length: length + (*after).length, next: (*after).next });
            }
            if before.is_null() {
                self.first.set(piece);
            } else if before.cast::<u8>().add((*before).length) == start {
                (*before).length += (*piece).length;
                (*before).next = (*piece).next;
            } else {
                (*before).next = piece;
            }
        }
    }

    unsafe fn more(&self, length: usize) -> Option<()> {
        let length = length.next_multiple_of(STEP);
        let start = call::grow(i32::try_from(length).ok()?).ok()?;
        // SAFETY: the kernel has just given us this memory; it begins where the heap ended, on a grain.
        unsafe { self.put(start as *mut u8, length) };
        Some(())
    }
}

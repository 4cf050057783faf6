use crate::check::glance::{BELOW, DENSE, FreshStack};
use crate::check::{Finding, Findings, History, Object, Objects, Subject};
use crate::entry::Entry;

/// No kernel stack is as small as this.
const TINY: u32 = 128;
/// What is larger may be a heap, in which stacks lie where they like.
const TABLE: u32 = 64 * 1024;
/// A page: what allocators hand out, with rubbish in it.
const PAGE: u32 = 4096;

/// ESP0 is the end of a stack, and of nothing else.
///
/// The processor pushes below ESP0 (SDM vol. 3A, "Stack switching"). Judged at the first entry on an ESP0 in
/// whose neighbourhood the kernel's stack pointer was not before: the words fall on what the kernel's file
/// has put there and what still lay there, code or tables; or on a variable that is too small for a stack; or
/// on the end of a table that is full of data. A variable that holds them all is a record of the task's registers, where
/// the handler goes on with a stack of its own.
#[inline]
pub(crate) fn esp0_is_in_no_data(entry: &Entry, history: &History, findings: &mut Findings) {
    let objects = history.objects();
    if !entry.from_outer_ring() || objects.knows_nothing() {
        return;
    }
    let Some(fresh) = history.fresh_stack().filter(|fresh| fresh.top == entry.frame.end()) else {
        return;
    };
    let told = ["stack_start", "stack_over_tables", "user_stack"];
    if told.into_iter().any(|rule| findings.has(rule)) {
        return;
    }
    if is_record(entry, fresh, history) {
        return;
    }
    if let Some((victim, why, degree)) = victim(entry, fresh, objects) {
        let finding = finding(entry, fresh, objects, &victim, &why);
        findings.add(if degree { finding } else { finding.as_note() });
    }
}

/// The processor's words fall into a variable that holds them, and the handler leaves for another stack.
fn is_record(entry: &Entry, fresh: &FreshStack, history: &History) -> bool {
    let holds = |object: &Object| fresh.top - object.start >= entry.frame.shape.size();
    history.glance().loads_stack_pointer
        && history.objects().at(fresh.top.wrapping_sub(1)).is_some_and(holds)
}

/// Whose bytes are overwritten, why they are no stack's, and whether that is certain.
fn victim(entry: &Entry, fresh: &FreshStack, objects: &Objects) -> Option<(String, String, bool)> {
    let size = (entry.frame.shape.size() as usize).min(BELOW);
    let lost = &fresh.below[BELOW - size..];
    let words = lost.as_chunks::<4>().0;
    let uniform = words.iter().all(|word| *word == words[0]);
    let last = fresh.top.wrapping_sub(1);
    let object = objects.at(last);
    let name = |object: &Object| format!("`{}`", object.name);
    if let Some(function) = objects.function_at(last).filter(|_| !uniform) {
        let why = format!("{} is code", name(function));
        return Some((format!("the code of {}", name(function)), why, true));
    }
    if !uniform && objects.loaded(entry.frame.address, size) == Some(lost) {
        let what = object.map_or_else(|| "what lies there".to_owned(), name);
        let why =
            "what lay there was still what the kernel's file had put there: code or data".into();
        // A page of what is used up, such as code that runs once, may have been handed out.
        let certain = !fresh.top.is_multiple_of(PAGE) || starts(objects, fresh.top).is_some();
        return Some((what, why, certain));
    }
    let object = object?;
    let length = object.end - object.start;
    if length < TINY {
        return Some((
            name(object),
            format!("{} has {length} bytes: too few for a stack", name(object)),
            true,
        ));
    }
    let dense = fresh.filled_below * 4 >= DENSE * 3 && !fresh.was_stack;
    (dense && !uniform && length <= TABLE && object.end == fresh.top).then(|| {
        let why = format!(
            "{} ends there, and {} of the {DENSE} words below were in use before any entry",
            name(object),
            fresh.filled_below
        );
        // Pages of an allocator, and stacks that are painted, have had something in them as well.
        (name(object), why, length < PAGE)
    })
}

/// The variable that begins at `address`.
fn starts(objects: &Objects, address: u32) -> Option<&Object> {
    objects.at(address).filter(|object| object.start == address)
}

#[cold]
fn finding(
    entry: &Entry,
    fresh: &FreshStack,
    objects: &Objects,
    victim: &str,
    why: &str,
) -> Finding {
    let size = (entry.frame.shape.size() as usize).min(BELOW);
    let words: Vec<String> = fresh.below[BELOW - size..]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| format!("{:08x}", u32::from_le_bytes(*word)))
        .collect();
    let start = starts(objects, fresh.top);
    let advice = match start {
        Some(object) if object.end - object.start == 4 && fresh.filled_below * 4 < DENSE * 3 => {
            format!(
                "`{0}` is a variable of 4 bytes: store its value in TSS.ESP0, not its address",
                object.name
            )
        }
        Some(object) if object.end - object.start >= 512 => format!(
            "add the stack's size: {:08x} is the address behind the last byte of `{}`",
            object.end, object.name
        ),
        _ => "set TSS.ESP0 to the address behind the last byte of the kernel stack".into(),
    };
    let named =
        start.map_or_else(String::new, |object| format!(", the start of `{}`", object.name));
    Finding::new(
        "stack_in_data",
        Subject::Kernel,
        format!("ESP0 is not the end of a stack: the words of {} overwrite {victim}", entry.vector),
        "ESP0 at the end of a stack, with room below",
        format!(
            "ESP0 {:08x}{named}: {:08x} held {}",
            fresh.top,
            entry.frame.address,
            words.join(" ")
        ),
    )
    .because(why)
    .advise(advice)
}

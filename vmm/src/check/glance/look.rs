//! When memory is looked at, and for what.

use super::kept_words::keeps_words;
use super::loads_stack::loads_stack_pointer;
use super::overwritten::overwritten;
use super::signal::keeps_what_was_interrupted;
use super::string_instruction::string_instruction;
use super::user_stack::shared;
use super::{
    BegunProgram, Damage, Edge, Foreign, FreshStack, Glance, InterruptedStack, Narrow, Nulled,
    Overrun, Refusal, Reset, TableUnder, other_tss,
};
use crate::check::excuse::is_no_frame;
use crate::check::history::frames::{Below, LiveFrame};
use crate::check::history::{History, Pair};
use crate::check::shifted;
use crate::check::way_back::{self, WayBack};
use crate::entry::{Entry, Kind, Return};
use crate::machine::LinearMemory;
use ia32::{DescriptorKind, Eflags, Selector, Table, Word};

impl Glance {
    /// At an entry.
    pub(in crate::check) fn at_entry(
        linear: &LinearMemory<'_>,
        entry: &Entry,
        history: &History,
    ) -> Glance {
        let mut glance = Glance::default();
        if let Some(last) = history.refused_by(entry) {
            let is_narrow = last.frame.shape.word_size == 2;
            let refusal = Refusal::ask(linear, &last.state, is_narrow, history.objects());
            glance.refusal = Some(Box::new(refusal));
            glance.shifted = shifted::near(linear, &last.state).map(Box::new);
            let newest = history.live().next_back();
            glance.narrow = newest.and_then(|live| Narrow::read(linear, live.handler));
        }
        if let Some(victim) = history.overlapped(&entry.frame)
            && entry.from_outer_ring()
            && victim.from_outer_ring()
            && !history.copies_frames()
        {
            let is_kept = keeps_words(linear, victim, history);
            glance.words_are_kept = Some(is_kept);
            if let Some(last) = history.last_return().filter(|_| !is_kept) {
                let wanted = last.stack_end.wrapping_sub(entry.after.ss().base);
                glance.other_tss =
                    other_tss::holding(linear, &entry.after, history.objects(), wanted);
            }
        }
        if entry.from_outer_ring() {
            glance.below = Below::read(linear, history, entry.frame.end());
            if let Some((own, _)) = history.shared_user_stack(entry.frame.end()) {
                glance.user_stack_moved = own.begun.has_moved(linear);
                glance.interrupted_stack = InterruptedStack::read(linear, entry);
            }
            let is_new = |fresh: &FreshStack| fresh.top == entry.frame.end();
            glance.loads_stack_pointer = history.fresh_stack().is_some_and(is_new)
                && loads_stack_pointer(linear, entry.after.instruction_address());
        }
        if matches!(entry.kind, Kind::External | Kind::Nmi)
            && let Some(eip) = entry.code.linear
        {
            let mut byte = [0];
            glance.behind_halt =
                linear.read(eip.wrapping_sub(1), &mut byte).is_some() && byte == [0xf4];
        }
        if entry.from_outer_ring() {
            glance.edge = Edge::read(linear, history.objects(), entry.frame.end()).map(Box::new);
        } else {
            let running = history.running_frame();
            glance.damage = damage(linear, history, running, entry.frame.address);
            glance.overrun = overrun(linear, history);
        }
        if is_no_frame(entry) {
            glance.behind_blank_handler =
                history.is_astray() || is_behind_blank_handler(linear, history);
        }
        (glance.foreign, glance.looked_at) = Foreign::of(linear, entry, history);
        (glance.table_under, glance.looked_under) = TableUnder::of(linear, entry, history);
        glance.overwritten = overwritten(linear, entry, history.objects());
        glance
    }

    /// At a return.
    pub(in crate::check) fn at_return(
        linear: &LinearMemory<'_>,
        returning: &Return,
        history: &History,
    ) -> Glance {
        // A task that has slept in the kernel goes on with the frame that it pushed.
        let pair = history.pair(returning);
        let own = pair.filter(|pair| {
            let pushed = pair.pushed;
            pair.in_place && pushed.from_outer_ring() && pushed.frame.pops_as(&returning.frame)
        });
        let running = own.map(|pair| pair.pushed).or_else(|| history.running_frame());
        let mut glance = Glance {
            damage: damage(linear, history, running, returning.frame.address),
            ..Glance::default()
        };
        if returning.state.eflags.contains(Eflags::DF)
            && let Some(pair) = history.pair(returning)
            && pair.pushed.frame.get(Word::Eflags).is_some_and(|f| Eflags(f).contains(Eflags::DF))
        {
            glance.string_instruction = string_instruction(linear, pair.pushed.handler);
        }
        glance.overrun = overrun(linear, history);
        glance.reset = reset(linear, returning, pair, history);
        glance.signal = keeps_what_was_interrupted(linear, returning, pair);
        if returning.frame.shape.from_virtual_8086 {
            glance.shifted = shifted::near(linear, &returning.state).map(Box::new);
        }
        if returning.ring() == returning.state.cpl() && may_be_beyond_limit(returning) {
            glance.code_limit = code_limit(linear, returning);
        }
        if returning.ring() > returning.state.cpl() {
            match pair {
                None => {
                    glance.begun_program = BegunProgram::read(linear, returning).map(Box::new);
                }
                Some(pair) if pair.in_place => {
                    let (top, sequence) = (pair.pushed.frame.end(), pair.pushed.sequence);
                    if history.shared_user_stack(top).is_some() {
                        let shared = shared(linear, history, top, sequence);
                        glance.shared_user_stack = shared.map(Box::new);
                    }
                }
                Some(_) => {}
            }
            if !history.objects().knows_nothing() {
                let was_on = |top| history.was_entered(top);
                glance.fresh_stack =
                    FreshStack::read(linear, returning, history.objects(), was_on).map(Box::new);
            }
            glance.nulled =
                Nulled::of(linear, returning).filter(|_| !is_refused(linear, returning, history));
            let key = way_back::Key::of(linear, returning);
            if history.way_back_of() != Some(key) {
                glance.code_limit = code_limit(linear, returning);
                let way_back = WayBack::read(linear, returning);
                // Words that IRET does not accept lead to no other ring: what they are is told when it is refused.
                if way_back.is_none() || !is_refused(linear, returning, history) {
                    glance.way_back_of = Some(key);
                    glance.way_back = way_back.map(Box::new);
                }
            }
        }
        glance
    }
}

/// Where the last gate led there are zeros, `add [eax], al` again and again, the first of them perhaps under a patch.
fn is_behind_blank_handler(linear: &LinearMemory<'_>, history: &History) -> bool {
    let mut code = [1; 15];
    history.live().next_back().is_some_and(|last| {
        linear.read(last.handler, &mut code).is_some()
            && matches!(code[0], 0 | 0xf4)
            && code[1..].iter().all(|byte| *byte == 0)
    })
}

/// The model says that the processor refuses this IRET.
#[cold]
fn is_refused(linear: &LinearMemory<'_>, returning: &Return, history: &History) -> bool {
    let narrow = returning.frame.shape.word_size == 2;
    Refusal::ask(linear, &returning.state, narrow, history.objects()).fault.is_some()
}

/// An IRET within a ring goes to another segment, or beyond the limit of the one that is in use.
fn may_be_beyond_limit(returning: &Return) -> bool {
    let (frame, cs) = (&returning.frame, returning.state.cs());
    frame.selector(Word::Cs) != Some(cs.selector) || frame.get(Word::Eip) > Some(cs.limit)
}

/// The limit of the code segment that `returning` pops, if the popped EIP lies beyond it.
fn code_limit(linear: &LinearMemory<'_>, returning: &Return) -> Option<u32> {
    let frame = &returning.frame;
    if frame.shape.from_virtual_8086 {
        return None;
    }
    let selector = Selector(frame.selector(Word::Cs)?);
    // What programs set up in an LDT is theirs, and a kernel may be ready for the refusal.
    if selector.table() == Table::Ldt {
        return None;
    }
    let descriptor = linear.descriptor(&returning.state, selector)?;
    let is_code = matches!(descriptor.kind(), DescriptorKind::Code { .. }) && descriptor.present();
    (is_code && frame.get(Word::Eip)? > descriptor.limit()).then(|| descriptor.limit())
}

/// Where the handler of an entry from ring 0 has loaded ESP with a place above its own frame, if that frame has changed.
fn reset(
    linear: &LinearMemory<'_>,
    returning: &Return,
    pair: Option<Pair<'_>>,
    history: &History,
) -> Option<Reset> {
    /// Without symbols a stack is taken to reach so far.
    const STACK: u32 = 4096;
    let pushed = pair.filter(|pair| pair.in_place)?.pushed;
    if pushed.from_outer_ring() || pushed.frame.pops_as(&returning.frame) {
        return None;
    }
    let reset = Reset::read(linear, pushed.handler)?;
    let end = returning.state.ss().base.wrapping_add(reset.esp);
    let is_one_stack = match history.objects().at(end.wrapping_sub(1)) {
        Some(object) => object.start <= pushed.frame.address,
        None => end.wrapping_sub(pushed.frame.address) <= STACK,
    };
    (is_one_stack && pushed.frame.end() <= end).then_some(reset)
}

/// What the stack that runs has done to its neighbour.
fn damage(
    linear: &LinearMemory<'_>,
    history: &History,
    running: Option<&LiveFrame>,
    stack_pointer: u32,
) -> Option<Box<Damage>> {
    Damage::read(linear, history, running?, stack_pointer).map(Box::new)
}

/// What the stack that runs has done below its own end.
fn overrun(linear: &LinearMemory<'_>, history: &History) -> Option<Box<Overrun>> {
    Overrun::read(linear, history.edge()?).map(Box::new)
}

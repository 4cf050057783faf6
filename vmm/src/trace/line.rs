//! One aligned line an entry.
//!
//! ```text
//!     #  task    event          ring  user SS:ESP     kernel SS:ESP   SS   ESP      EFLAGS   CS   EIP      code      verdict
//!     1  task 1  external 0x20  3→0   0023:bfffef8c → 0010:f0007fec   0023 bfffef8c 00010202 001b 0804808e           ok  spin+14 (user.c:9)
//! ```

use super::Colour;
use crate::check::{Degree, Finding, Judgement, TaskId};
use crate::entry::{Entry, Kind, TaskSwitch, TssWords};
use crate::run::StackLoad;
use crate::symbols::{Annotator, Symbols};
use ia32::{State, Vector, Word};
use std::fmt::{self, Write};

/// `int 0x80`, `#PF`, `external 0x20`: what happened.
pub fn event_name(kind: Kind, vector: Vector) -> String {
    match (kind, vector.mnemonic()) {
        (Kind::Fault | Kind::Trap | Kind::Abort | Kind::Nmi, Some(mnemonic)) => mnemonic.into(),
        _ => format!("{kind} {:#04x}", vector.0),
    }
}

/// `task 1`, or `-` where the stack is nobody's that is known.
pub fn task_name(task: Option<TaskId>) -> String {
    task.map_or("-".into(), |task| format!("task {}", task.0))
}

/// The heading above the lines.
pub(super) fn heading() -> &'static str {
    "     #  task    event          ring  user SS:ESP     kernel SS:ESP   \
     SS   ESP      EFLAGS   CS   EIP      code      verdict"
}

/// The line of an entry, with the interrupted instruction's name.
pub(super) fn line(
    entry: &Entry,
    judgement: &Judgement,
    name: Option<&str>,
    colour: Colour,
) -> String {
    let mut text = String::with_capacity(160);
    let frame = &entry.frame;
    let after = &entry.after;
    let user = match (frame.get(Word::Ss), frame.get(Word::Esp)) {
        (Some(ss), Some(esp)) => format!("{:04x}:{esp:08x}", ss & 0xffff),
        _ => String::new(),
    };
    let _ = write!(
        text,
        "{:>6}  {:<7} {:<14} {}→{}{}  {user:<13} {} {:04x}:{:08x} ",
        entry.sequence,
        task_name(judgement.task),
        event_name(entry.kind, entry.vector),
        entry.origin.ring,
        after.cpl(),
        if entry.origin.virtual_8086 { 'v' } else { ' ' },
        if user.is_empty() { ' ' } else { '→' },
        after.ss().selector,
        after.general.esp,
    );
    let changed = |word| {
        judgement
            .findings
            .iter()
            .any(|finding| finding.difference.is_some_and(|difference| difference.word == word))
    };
    for (word, digits) in [
        (Word::Ss, 4),
        (Word::Esp, 8),
        (Word::Eflags, 8),
        (Word::Cs, 4),
        (Word::Eip, 8),
        (Word::ErrorCode, 8),
    ] {
        let value = match frame.get(word) {
            Some(value) => format!("{value:0digits$x}"),
            None if frame.shape.words().contains(&word) => "?".repeat(digits),
            None => " ".repeat(digits),
        };
        let value = if changed(word) { colour.bad(&value) } else { value };
        let _ = write!(text, " {value}");
    }
    text.push_str("  ");
    text.push_str(&verdict(judgement, colour));
    if let (Some(stack), Some(esp)) = (entry.ldt_stack, frame.get(Word::Esp)) {
        let base = stack.wrapping_sub(esp);
        let _ = write!(
            text,
            "  {}",
            colour.dim(&format!(
                "TR {:04x} LDT {:04x} base {base:08x}",
                after.tr.selector, after.ldtr.selector
            ))
        );
    }
    if let Some(name) = name {
        let _ = write!(text, "  {}", colour.dim(name));
    }
    text
}

/// The line of a task switch by hardware: from the stack that is left to the one that is taken.
pub(super) fn switch_line(switch: &TaskSwitch, judgement: &Judgement, colour: Colour) -> String {
    let (before, new) = (&switch.before, &switch.new);
    let base = |base: Option<u32>| base.map_or("????????".into(), |base| format!("{base:08x}"));
    format!(
        "        {:<7} {:<14} {}→{}   {:04x}:{:08x} → {:04x}:{:08x}  \
         TR {:04x}→{:04x} LDT {:04x}→{:04x} base {}  CS:EIP {:04x}:{:08x}  ESP0 {:08x} kept  {}",
        task_name(judgement.task),
        format!("jmp far {:04x}", switch.selector.0),
        before.cpl(),
        switch.ring(),
        before.ss().selector,
        before.general.esp,
        new.selector(TssWords::SS).0,
        new.0[TssWords::ESP],
        before.tr.selector,
        switch.tr.0,
        before.ldtr.selector,
        new.selector(TssWords::LDT).0,
        base(switch.code_base),
        new.selector(TssWords::CS).0,
        new.0[TssWords::EIP],
        switch.stored.0[TssWords::ESP0],
        verdict(judgement, colour),
    )
}

/// The line of a stack that was loaded before there were probes.
pub(super) fn stack_line(load: &StackLoad) -> String {
    let (before, after) = (&load.before, &load.after);
    let stack =
        |state: &State| format!("{:04x}:{:08x}", state.ss().selector, state.stack_pointer());
    format!(
        "        -       {:<14} {}   {} → {}  linear {:08x}, {}",
        load.instruction(),
        if after.protected() { "0→0" } else { "   " },
        stack(before),
        stack(after),
        after.stack_address(),
        if after.protected() { "protected mode" } else { "real mode" },
    )
}

fn verdict(judgement: &Judgement, colour: Colour) -> String {
    if !judgement.findings.is_empty() {
        let rules: Vec<&str> = judgement.findings.iter().map(|finding| finding.rule).collect();
        return colour.bad(&rules.join(", "));
    }
    if judgement.deviations.is_empty() {
        return colour.good("ok");
    }
    let names: Vec<&str> = judgement.deviations.iter().map(|deviation| deviation.name).collect();
    format!("{} {}", colour.good("ok"), colour.odd(&format!("({})", names.join(", "))))
}

/// A finding for people: what, where, expected, got, and the likely reason.
#[derive(Debug)]
pub struct FindingText<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Where: `#214 int 0x80 in task 3, at write+9 (user.c:41)`.
    pub place: String,
    /// With colour or without.
    pub colour: Colour,
    /// What the addresses in it are, if that is known.
    pub symbols: Option<&'a Symbols>,
}

/// ```text
/// #214 int 0x80 in task 3, at write+9 (user.c:41): entered on the stack of suspended task 1
///      expected  SS:ESP 0010:c0106fec (kstack3+4076)  (ESP0 of task 3)
///      got       SS:ESP 0010:c0104fec (kstack1+4076)  overwrites EIP CS EFLAGS ESP SS of #198
///      TSS.ESP0 has been c0105000 (kstack1+4096) since #190: …
/// ```
impl fmt::Display for FindingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finding = self.finding;
        let none = Symbols::none();
        let mut names = Annotator::new(self.symbols.unwrap_or(&none));
        let mut named = |text| names.annotate(text).into_owned();
        let first = format!("{}: {}", self.place, named(&finding.sentence));
        match finding.degree {
            Degree::Fault => writeln!(f, "{}", self.colour.bad(&first))?,
            Degree::Note => writeln!(f, "{}", self.colour.odd(&format!("note: {first}")))?,
        }
        writeln!(f, "     expected  {}", named(&finding.expected))?;
        writeln!(f, "     got       {}", named(&finding.got))?;
        if let Some(reason) = &finding.reason {
            writeln!(f, "     {}", named(reason))?;
        }
        if let Some(advice) = &finding.advice {
            writeln!(f, "     what to do: {}", named(advice))?;
        }
        write!(
            f,
            "     {}",
            self.colour.dim(&format!("rule {}, about the {}", finding.rule, finding.subject))
        )
    }
}

//! One aligned line an entry.
//!
//! ```text
//!     #  task    event          ring  user SS:ESP     kernel SS:ESP   SS   ESP      EFLAGS   CS   EIP      code      verdict
//!     1  task 1  external 0x20  3→0   0023:bfffef8c → 0010:f0007fec   0023 bfffef8c 00010202 001b 0804808e           ok  spin+14 (user.c:9)
//! ```
//! Lines are made of the records of a trace, so a run and the trace of it look the same.

use super::Colour;
use super::schema::{
    CrossingRecord, EntryRecord, FindingRecord, ReturnRecord, StackRecord, SwitchBy, SwitchRecord,
    SysenterRecord,
};
use crate::check::TaskId;
use crate::entry::Kind;
use ia32::{Vector, Word};
use std::fmt::Write;

/// `int 0x80`, `#PF`, `external 0x20`: what happened.
pub fn event_name(kind: Kind, vector: Vector) -> String {
    match (kind, vector.mnemonic()) {
        (Kind::Fault | Kind::Trap | Kind::Abort | Kind::Nmi, Some(mnemonic)) => mnemonic.into(),
        _ => format!("{kind} {:#04x}", vector.0),
    }
}

/// `task 1`, or `no task` where the stack is nobody's that is known.
pub fn task_name(task: Option<TaskId>) -> String {
    numbered(task.map_or(0, |task| task.0))
}

/// The same of a number in a trace.
pub(super) fn numbered(task: u32) -> String {
    if task == 0 { "no task".into() } else { format!("task {task}") }
}

/// The heading above the lines.
pub(super) fn heading() -> &'static str {
    "     #  task    event          ring  user SS:ESP     kernel SS:ESP   \
     SS   ESP      EFLAGS   CS   EIP      code      verdict"
}

/// The line of an entry, with the interrupted instruction's name.
pub(super) fn entry_line(entry: &EntryRecord, name: Option<&str>, colour: Colour) -> String {
    let mut text = String::with_capacity(160);
    let frame = &entry.frame;
    let user = match (frame.get(Word::Ss), frame.get(Word::Esp)) {
        (Some(ss), Some(esp)) => format!("{:04x}:{esp:08x}", ss & 0xffff),
        _ => String::new(),
    };
    let _ = write!(
        text,
        "{:>6}  {:<7} {:<14} {}→{}{}  {user:<13} {} {:04x}:{:08x} ",
        entry.sequence,
        numbered(entry.task),
        event_name(entry.kind, entry.vector()),
        entry.from_ring,
        entry.to_ring,
        if entry.origin == super::schema::OriginName::Virtual8086 { 'v' } else { ' ' },
        if user.is_empty() { ' ' } else { '→' },
        entry.ss,
        entry.esp,
    );
    let changed = |word| {
        let differs =
            |finding: &FindingRecord| finding.difference.is_some_and(|it| it.word == word);
        entry.findings.iter().any(differs)
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
            None if frame.has(word) => "?".repeat(digits),
            None => " ".repeat(digits),
        };
        let value = if changed(word) { colour.bad(&value) } else { value };
        let _ = write!(text, " {value}");
    }
    text.push_str("  ");
    text.push_str(&verdict(&entry.findings, colour));
    if let (Some(ldtr), Some(stack), Some(esp)) =
        (entry.ldtr, entry.linear_stack, frame.get(Word::Esp))
    {
        let base = stack.wrapping_sub(esp);
        let from = format!("TR {:04x} LDT {ldtr:04x} base {base:08x}", entry.tr);
        let _ = write!(text, "  {}", colour.dim(&from));
    }
    if let Some(name) = name {
        let _ = write!(text, "  {}", colour.dim(name));
    }
    text
}

/// The line of a return, for whoever wants them too.
pub(super) fn return_line(returning: &ReturnRecord, colour: Colour) -> String {
    let frame = &returning.frame;
    let eip = frame.get(Word::Eip).unwrap_or(0);
    let mut text = format!(
        "        {:<7} iret           {}→{}   to EIP {eip:08x}",
        numbered(returning.task),
        returning.from_ring,
        returning.to_ring,
    );
    if let (Some(cs), Some(ss), Some(esp)) =
        (frame.get(Word::Cs), frame.get(Word::Ss), frame.get(Word::Esp))
    {
        let _ = write!(text, " of CS {:04x}, on {:04x}:{esp:08x}", cs & 0xffff, ss & 0xffff);
    }
    colour.dim(&text)
}

/// The line of an entry by SYSENTER.
pub(super) fn sysenter_line(entry: &SysenterRecord, colour: Colour) -> String {
    format!(
        "        {:<7} {:<14} 3→0   → {:04x}:{:08x}  nothing is pushed; ESP is IA32_SYSENTER_ESP  \
         CS:EIP {:04x}:{:08x}  {}",
        numbered(entry.task),
        "sysenter",
        entry.ss,
        entry.esp,
        entry.cs,
        entry.eip,
        verdict(&entry.findings, colour),
    )
}

/// The line of an entry by a call gate, or of the way back: the words as they lie there, from the top down.
pub(super) fn crossing_line(crossing: &CrossingRecord, colour: Colour) -> String {
    let what = match crossing.gate {
        Some(gate) => format!("call gate {gate:04x}"),
        None => "far ret".to_owned(),
    };
    let (user, kernel) = (
        format!("{:04x}:{:08x}", crossing.from_top(0) & 0xffff, crossing.from_top(1)),
        format!("{:04x}:{:08x}", crossing.ss, crossing.esp),
    );
    let (from, to) = if crossing.is_call() { (&user, &kernel) } else { (&kernel, &user) };
    let parameters = match crossing.parameters {
        0 => "no parameters".to_owned(),
        1 => "1 parameter".to_owned(),
        count => format!("{count} parameters"),
    };
    let low = |index: usize| crossing.words.get(index).copied().unwrap_or(0);
    format!(
        "        {:<7} {what:<14} {}→{}   {from} → {to}  {} SS ESP, {parameters}, CS {:04x} EIP {:08x}, no EFLAGS  {}",
        numbered(crossing.task),
        crossing.from_ring,
        crossing.to_ring,
        if crossing.is_call() { "pushed:" } else { "to be popped:" },
        low(1) & 0xffff,
        low(0),
        verdict(&crossing.findings, colour),
    )
}

/// The line of a task switch by hardware: from the stack that is left to the one that is taken.
pub(super) fn switch_line(switch: &SwitchRecord, colour: Colour) -> String {
    let (before, new) = (&switch.before, &switch.loaded);
    let base = |base: Option<u32>| base.map_or("????????".into(), |base| format!("{base:08x}"));
    format!(
        "        {:<7} {:<14} {}→{}   {:04x}:{:08x} → {:04x}:{:08x}  \
         TR {:04x}→{:04x} LDT {:04x}→{:04x} base {}  CS:EIP {:04x}:{:08x}  ESP0 {:08x} kept  {}{}",
        numbered(switch.task),
        switch_name(switch),
        switch.from_ring,
        switch.to_ring,
        before.ss,
        before.esp,
        new.ss,
        new.esp,
        switch.tr[0],
        switch.tr[1],
        before.ldtr,
        new.ldtr,
        base(switch.code_base),
        new.cs,
        new.eip,
        switch.left.esp0,
        switch.error_code.map_or(String::new(), |code| format!("pushed: error {code:04x}  ")),
        verdict(&switch.findings, colour),
    )
}

/// What has switched tasks.
pub(super) fn switch_name(switch: &SwitchRecord) -> String {
    match (switch.by, switch.vector) {
        (SwitchBy::Iret, _) => "iret to a task".into(),
        (SwitchBy::Gate, Some(vector)) if vector < 32 => format!("{} task gate", Vector(vector)),
        (SwitchBy::Gate, vector) => format!("{:02x} task gate", vector.unwrap_or(0)),
        (SwitchBy::Jump, _) => format!("jmp far {:04x}", switch.selector),
    }
}

/// The line of a stack that was loaded before there were probes.
pub(super) fn stack_line(load: &StackRecord) -> String {
    let (before, after) = (&load.before, &load.after);
    format!(
        "        {:<7} {:<14} {}   {:04x}:{:08x} → {:04x}:{:08x}  linear {:08x}, {}",
        numbered(0),
        load.instruction,
        if after.protected() { "0→0" } else { "   " },
        before.ss,
        before.esp,
        after.ss,
        after.esp,
        after.linear,
        if after.protected() { "protected mode" } else { "real mode" },
    )
}

/// What the rules said. A known deviation of the machine below says nothing of the guest: the summary has it.
fn verdict(findings: &[FindingRecord], colour: Colour) -> String {
    if findings.is_empty() {
        return colour.good("ok");
    }
    let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
    colour.bad(&rules.join(", "))
}

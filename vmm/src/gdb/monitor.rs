//! What stands behind `monitor`.

use super::claims;
use super::known;
use super::origin::origin;
use super::session::{Session, StopOn};
use super::socket::Line;
use super::tables;
use super::target::{read, read_physical};
use super::watching::words;
use crate::host::processor;
use crate::instruction;
use crate::machine::{MachineError, Memory};
use crate::run::operation_of;
use crate::symbols::{Place as PlaceInCode, SeenCode, Symbols};
use crate::timeline::{Company, Hit, Place, Sought};
use crate::trace::{Colour, event_name, registers, registers_now};
use ia32::Vector;
use std::fmt::Write as _;
use std::io::Write;

const HELP: &str = "\
status                        where the guest is, and why it stopped
stop-on finding               stop where something is found
stop-on entry [VECTOR]        stop at entries into the kernel
stop-on switch                stop where another task runs
stop-on nothing               stop at none of these
goto #N | @EVENT.STEP | start | end
                              go to entry N, to a place that `status` or `who` named, to the first
                              instruction, or as far as the guest was ever let go
who ADDRESS                   who changed the word there last
why, explain [#N]             the last entry before this place, or entry N, step by step, as the
                              manuals have it
claims [ID...]                what is claimed of kernel stacks, and what this guest has shown of it up
                              to here
phys ADDRESS [COUNT]          memory by physical address
entries                       the last entries before this place
stacks, tasks                 kernel stacks, and frames that are not popped yet, as far as they were
                              seen up to here
tss, gdt, idt, registers      as the guest has them here
programs                      the programs that are mapped here, by their code
Behind goto, gdb has to forget what it knows: `maintenance flush register-cache`, or the command
`goto` of the file that `esp0 gdbinit` prints.
";

const GIVEN_UP: &str = "given up, for gdb called\n";

/// Why something did not come to its end.
pub(super) fn given_up<W: Write>(session: &Session<'_, W>) -> String {
    match session.timeline().parted() {
        Some(how) => {
            format!("this place was not come to again, for the run did not repeat: {how}\n")
        }
        None => GIVEN_UP.into(),
    }
}

/// Most bytes that `phys` shows.
const MOST: u32 = 4096;

/// The answer to a command.
pub(super) fn answer<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    command: &str,
) -> Result<String, MachineError> {
    let words: Vec<&str> = command.split_whitespace().collect();
    Ok(match words.as_slice() {
        [] | ["help", ..] => HELP.into(),
        ["status"] => status(session, line)?,
        ["stop-on", what @ ..] => stop_on(session, what),
        ["goto", place] => go_to(session, line, place)?,
        ["who", address] => match number(address) {
            Some(address) => who(session, line, address)?,
            None => format!("{address} is no address\n"),
        },
        ["why" | "explain"] => explain(session, line, None)?,
        ["explain", entry] => match entry.trim_start_matches('#').parse() {
            Ok(number) => explain(session, line, Some(number))?,
            Err(_) => format!("{entry} is no entry\n"),
        },
        ["programs"] => programs(session),
        ["claims", ids @ ..] => claims::table(session, line, ids)?,
        ["phys", address, count @ ..] => physical(session, address, count),
        ["entries"] => known::tell(session, line, |known, session| {
            known.entries.text(session.symbols, Colour::new(false))
        })?,
        ["stacks"] => known::tell(session, line, |known, session| {
            tables::stacks(known.judge.history(), session.symbols)
        })?,
        ["tasks"] => known::tell(session, line, |known, session| {
            tables::tasks(known.judge.history(), session.symbols)
        })?,
        [what @ ("tss" | "gdt" | "idt" | "registers")] => {
            let state = session.run().state();
            let linear = session.run_now().machine().linear();
            match *what {
                "tss" => tables::tss(&linear, &state, session.symbols),
                "gdt" => tables::gdt(&linear, &state),
                "idt" => tables::idt(&linear, &state, session.symbols),
                _ => registers(&registers_now(&state, session.symbols)),
            }
        }
        _ => format!("there is no such command, or it takes something else: {command}\n\n{HELP}"),
    })
}

/// A number: hexadecimal behind 0x, decimal else.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn place_name(place: Place) -> String {
    format!("@{}.{}", place.event, place.step)
}

/// `c0101234 (dispatch+12, kernel.c:17)`.
pub(super) fn named(symbols: &Symbols, address: u32) -> String {
    with_name(address, symbols.describe(address))
}

fn with_name(address: u32, place: Option<PlaceInCode>) -> String {
    let Some(place) = place else { return format!("{address:08x}") };
    let line = place.line.as_ref();
    let line = line.map_or(String::new(), |line| format!(", {}:{}", line.file, line.number));
    format!("{address:08x} ({}{line})", place.short())
}

/// The instruction that the guest stands at. Of programs that lie at the same addresses its code tells which one it is.
fn here<W: Write>(session: &mut Session<'_, W>) -> String {
    let state = session.run().state();
    let at = state.instruction_address();
    let (mut code, mut behind) = ([0; 15], [0; 15]);
    let count = read(session.run_now(), at, &mut code);
    let before = read(session.run_now(), at.wrapping_sub(15), &mut behind);
    let behind = if before == behind.len() { &behind[..] } else { &[] };
    let seen = SeenCode { behind, at: &code[..count] };
    let place = session.symbols.describe_code(state.eip, seen);
    with_name(at, place.or_else(|| session.symbols.describe(at)))
}

/// The programs that are mapped, one a line.
fn programs<W: Write>(session: &Session<'_, W>) -> String {
    let run = session.run_now();
    let names = session.symbols.programs_in(|address, bytes| read(run, address, bytes));
    match names.as_slice() {
        [] => "no program is mapped here\n".into(),
        names => names.iter().map(|name| format!("{name}\n")).collect(),
    }
}

/// The last entry before a place, by number.
fn last_entry<W: Write>(session: &Session<'_, W>, event: u64) -> Option<u64> {
    let timeline = session.timeline();
    let count = event.saturating_sub(timeline.first_event()) as usize;
    timeline.log().last_number(count)
}

/// What a place is called before which no entry is known.
fn before_the_first<W: Write>(session: &Session<'_, W>) -> &'static str {
    match session.timeline().begins_anew() {
        true => "before the first entry since the guest was changed",
        false => "before the first entry",
    }
}

fn status<W: Write>(session: &mut Session<'_, W>, line: &Line<'_>) -> Result<String, MachineError> {
    let (run, timeline, mut along) = session.parts(Some(line));
    let counted = timeline.count(run, &mut along)?;
    let timeline = session.timeline();
    let place = timeline.place().filter(|_| counted).map_or("no place yet".into(), place_name);
    let event = timeline.event();
    let (kept, bytes) = timeline.kept();
    let past = timeline.is_in_the_past();
    let after = match last_entry(session, event) {
        Some(sequence) => format!("after entry #{sequence}"),
        None => before_the_first(session).into(),
    };
    let at = session.run().state();
    Ok(format!(
        "{place}, {after}{}: {} in ring {}\nstopped: {}\n{kept} checkpoints, {} KiB beside the first one\n",
        if past { ", in the past" } else { "" },
        here(session),
        at.cpl(),
        session.why(),
        bytes >> 10,
    ))
}

fn stop_on<W: Write>(session: &mut Session<'_, W>, what: &[&str]) -> String {
    let stop_on = &mut session.stop_on;
    match what {
        ["finding"] => stop_on.findings = true,
        ["switch"] => stop_on.switches = true,
        ["nothing"] => *stop_on = StopOn::default(),
        ["entry"] => stop_on.entries = Some(None),
        ["entry", vector] => {
            let Some(vector) = number(vector).and_then(|vector| u8::try_from(vector).ok()) else {
                return format!("{vector} is no vector: 0 to 255\n");
            };
            stop_on.entries = Some(Some(Vector(vector)));
        }
        _ => return "finding, entry [VECTOR], switch or nothing\n".into(),
    }
    let mut wanted = Vec::new();
    if stop_on.findings {
        wanted.push("findings".to_owned());
    }
    match stop_on.entries {
        Some(None) => wanted.push("entries".into()),
        Some(Some(vector)) => wanted.push(format!("entries by vector {:#04x}", vector.0)),
        None => {}
    }
    if stop_on.switches {
        wanted.push("switches".into());
    }
    match wanted.as_slice() {
        [] => "the guest stops at no events\n".into(),
        wanted => format!("the guest stops at {}\n", wanted.join(", ")),
    }
}

/// The place that a word means.
fn place<W: Write>(session: &Session<'_, W>, text: &str) -> Result<Place, String> {
    let timeline = session.timeline();
    let first = timeline.first_event();
    if text == "start" {
        return Ok(Place { event: first, step: 0 });
    }
    if let Some(number) = text.strip_prefix('#') {
        let number: u64 = number.parse().map_err(|_| format!("{text} is no entry\n"))?;
        let index = timeline
            .log()
            .find(number)
            .ok_or_else(|| no_entry(number, timeline.log().last_number(usize::MAX)))?;
        return Ok(Place { event: first + index as u64 + 1, step: 0 });
    }
    let parts = text.strip_prefix('@').and_then(|rest| rest.split_once('.'));
    let place = parts.and_then(|(event, step)| {
        Some(Place { event: event.parse().ok()?, step: step.parse().ok()? })
    });
    let place =
        place.ok_or_else(|| format!("{text} is no place: #N, @EVENT.STEP, start or end\n"))?;
    let last = first + timeline.log().len() as u64;
    if (first..=last).contains(&place.event) {
        Ok(place)
    } else {
        Err(format!("the guest was never there: events are {first} to {last}\n"))
    }
}

fn no_entry(number: u64, last: Option<u64>) -> String {
    match last {
        Some(last) => format!("there has been no entry #{number}: the last is #{last}\n"),
        None => "there has been no entry\n".into(),
    }
}

fn go_to<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    text: &str,
) -> Result<String, MachineError> {
    let whole = if text == "end" {
        session.reach_the_end()?;
        true
    } else {
        match place(session, text) {
            Ok(place) => session.go_to(line, place)?,
            Err(why) => return Ok(why),
        }
    };
    session.was_put(format!("`goto {text}`"));
    let at = session.run().state();
    let here = here(session);
    let given_up = if whole { "" } else { "given up on the way, " };
    Ok(format!("{given_up}at {here} in ring {}\n", at.cpl()))
}

/// Who changed a word last; the guest stays where it is.
fn who<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    address: u32,
) -> Result<String, MachineError> {
    let watched = words(address, 4).map(|word| word.watched(session.run_now()));
    let Some(watched) = watched.collect::<Option<Vec<_>>>() else {
        return Ok(format!("{address:08x} is not mapped here, or is no RAM\n"));
    };
    let Some(origin) = origin(session, line)? else { return Ok(given_up(session)) };
    let end = session.timeline().event();
    let (run, timeline, mut along) = session.parts(Some(line));
    let sought = Sought { addresses: &[], watched: &watched, touched: &[], events: &|_| false };
    let hit = timeline.back_to(run, &mut along, &sought)?;
    let text = match hit {
        Hit::Watched(word) => {
            let place = session.timeline().place();
            let place_in_code = here(session);
            let before = session.run().state();
            let old = word.value(session.run_now());
            let at = before.instruction_address();
            let mut code = [0; 15];
            let run = session.run_now();
            let count = read(run, at, &mut code);
            let event = session.timeline().event();
            let (run, timeline, mut along) = session.parts(None);
            let mut by_event = false;
            while word.value(run) == old && !run.has_ended() && timeline.event() <= end {
                timeline.step(run, &mut along)?;
                by_event = timeline.event() != event;
            }
            let passed_over = timeline.passed_over();
            let new = word.value(session.run_now());
            let what = if by_event {
                let sequence = last_entry(session, session.timeline().event()).unwrap_or(0);
                format!(
                    "the processor, which pushed the frame of #{sequence}; before it {place_in_code}"
                )
            } else {
                let instruction = instruction::text(&code[..count], &before);
                format!("`{instruction}` at {place_in_code}, in ring {}", before.cpl())
            };
            let after = last_entry(session, event).map_or_else(
                || before_the_first(session).into(),
                |entry| format!("after #{entry}"),
            );
            let digits = usize::from(word.length) * 2;
            let mut text = if new == old {
                format!("{:08x} changes {after}, but the run did not repeat\n", word.address)
            } else {
                format!(
                    "{:08x} was written by {what}, {after}: {old:0digits$x} before, {new:0digits$x} after\n",
                    word.address
                )
            };
            if let Some(place) = place {
                let _ = writeln!(text, "in front of it: goto {}", place_name(place));
            }
            if passed_over > 0 {
                let _ = writeln!(
                    text,
                    "its page was written {passed_over} times more, each time with the word as it is now behind it: whether it \
                     was changed there and back in between was not looked at"
                );
            }
            text
        }
        Hit::Beginning => {
            format!("{address:08x} has not changed, as far back as can be gone\n")
        }
        _ => GIVEN_UP.into(),
    };
    origin.back(session)?;
    Ok(text)
}

/// Guest memory as the model reads it.
struct Physical<'a>(&'a Memory);

impl ia32::ReadMemory for Physical<'_> {
    fn read_u8(&self, address: u64) -> u8 {
        self.0.read_array::<1>(address).map_or(0xff, |[byte]| byte)
    }
}

/// An entry, or the last one before this place, explained by the model from the state before it.
fn explain<W: Write>(
    session: &mut Session<'_, W>,
    line: &Line<'_>,
    number: Option<u64>,
) -> Result<String, MachineError> {
    let Some(origin) = origin(session, line)? else { return Ok(given_up(session)) };
    let timeline = session.timeline();
    let first = timeline.first_event();
    let count = (timeline.event() - first) as usize;
    let index = match number {
        Some(number) => timeline.log().find(number),
        None => timeline.log().last_entry(count),
    };
    let Some(event) = index.map(|index| first + index as u64 + 1) else {
        let last = timeline.log().last_number(usize::MAX).filter(|_| number.is_some());
        return Ok(no_entry(number.unwrap_or(0), last));
    };
    let (run, timeline, mut along) = session.parts(Some(line));
    let mut text = GIVEN_UP.to_owned();
    if timeline.go_before(run, &mut along, event)? {
        let mut before = run.state();
        let mut code = [0; 15];
        let count = read(run, before.instruction_address(), &mut code);
        while timeline.event() < event && !along.gives_up() {
            timeline.step(run, &mut along)?;
        }
        if let Some(entry) = along.entry.take() {
            let there = timeline.go_before(run, &mut along, event)?;
            text = match operation_of(&entry, &before, &code[..count]).filter(|_| there) {
                Some((operation, cr2)) => {
                    before.cr2 = cr2;
                    let memory = Physical(run.machine().memory());
                    let outcome = ia32::take(&before, &memory, operation, &processor());
                    let what = event_name(entry.kind, entry.vector);
                    format!("#{} {what}\n{}", entry.sequence, ia32::explain(&before, &outcome))
                }
                None => format!("#{} is nothing that the model explains\n", entry.sequence),
            };
        }
    }
    origin.back(session)?;
    Ok(text)
}

fn physical<W: Write>(session: &Session<'_, W>, address: &str, count: &[&str]) -> String {
    let count = match count {
        [] => Some(16),
        [count] => number(count),
        _ => None,
    };
    let (Some(address), Some(count)) = (number(address), count) else {
        return "phys ADDRESS [COUNT], both decimal or behind 0x\n".into();
    };
    let mut bytes = vec![0; count.min(MOST) as usize];
    let have = read_physical(session.run_now(), address, &mut bytes);
    let mut text = String::new();
    for (index, row) in bytes[..have].chunks(16).enumerate() {
        let _ = write!(text, "{:08x} ", address.wrapping_add(index as u32 * 16));
        for byte in row {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    if have < bytes.len() {
        let _ = writeln!(text, "{:08x}  no RAM", address.wrapping_add(have as u32));
    }
    text
}

//! What exact mode adds to a line of the trace: all that the model needs to explain it again.
//!
//! ```json
//! {"operation":"int","vector":"80","length":2,
//!  "processor":{"vendor":"amd","physical_bits":40,"pse36":true,"inner_stack_bytes":6},
//!  "state":{"eax":"…",…,"cs":["001b","c0fb","00000000","ffffffff"],…,"gdtr":["c0108000","002f"],…},
//!  "memory":{"00108008":"ffff0000009acf00",…},
//!  "changed":{"0010bfec":["00000000…","c18f0408…"]}}
//! ```
//! A segment register is its selector, attributes, base and limit. Runs of bytes stand under their
//! physical address in the order of memory.

use crate::entry::{Exact, KnownBytes};
use crate::machine::ChangedByte;
use ia32::{
    Event, General, Iret, Kind, OperandSize, Operation, Processor, Segment, SoftwareInterrupt,
    State, TableRegister, Vector, Vendor,
};
use serde_json::{Map, Value, json};

const GENERAL: [&str; 8] = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// The object that stands in the trace; none for an operation that exact mode does not produce.
pub(super) fn to_json(exact: &Exact) -> Option<Value> {
    let Value::Object(mut object) = operation_to_json(&exact.operation)? else { return None };
    let Processor { vendor, physical_bits, pse36, inner_stack_bytes } = exact.processor;
    let vendor = if vendor == Vendor::Amd { "amd" } else { "intel" };
    object.insert(
        "processor".into(),
        json!({"vendor": vendor, "physical_bits": physical_bits, "pse36": pse36,
               "inner_stack_bytes": inner_stack_bytes}),
    );
    object.insert("state".into(), state_to_json(&exact.before));
    let memory: Map<String, Value> = exact
        .memory
        .runs()
        .into_iter()
        .map(|(address, bytes)| (format!("{address:08x}"), hex(bytes).into()))
        .collect();
    object.insert("memory".into(), memory.into());
    let changed: Map<String, Value> = exact
        .changed
        .chunk_by(|one, next| one.address + 1 == next.address)
        .map(|run| {
            let before = hex(run.iter().map(|byte| byte.before));
            let after = hex(run.iter().map(|byte| byte.after));
            (format!("{:08x}", run[0].address), json!([before, after]))
        })
        .collect();
    object.insert("changed".into(), changed.into());
    Some(object.into())
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn operation_to_json(operation: &Operation) -> Option<Value> {
    let event = match operation {
        Operation::Event(event) => event,
        Operation::Iret(iret) => {
            return Some(json!({"operation": "iret", "word_size": iret.size.bytes(),
                               "length": iret.length}));
        }
        Operation::Far(_) => return None,
    };
    let (name, length) = match event.kind {
        Kind::Software { instruction: SoftwareInterrupt::IntN, length } => ("int", length),
        Kind::Software { instruction: SoftwareInterrupt::Int3, length } => ("int3", length),
        Kind::Software { instruction: SoftwareInterrupt::Into, length } => ("into", length),
        Kind::Icebp { length } => ("icebp", length),
        Kind::Fault => ("fault", 0),
        Kind::InstructionBreakpoint => ("breakpoint", 0),
        Kind::Trap => ("trap", 0),
        Kind::Abort => ("abort", 0),
        Kind::External => ("external", 0),
        Kind::Nmi => ("nmi", 0),
    };
    let mut object = json!({"operation": name, "vector": format!("{:02x}", event.vector.0)});
    if length != 0 {
        object["length"] = length.into();
    }
    if let Some(code) = event.error_code {
        object["error_code"] = format!("{code:08x}").into();
    }
    if event.repeating {
        object["repeating"] = true.into();
    }
    Some(object)
}

fn state_to_json(state: &State) -> Value {
    let word = |value: u32| Value::from(format!("{value:08x}"));
    let segment = |one: &Segment| {
        let Segment { selector, attributes, base, limit } = one;
        json!([
            format!("{selector:04x}"),
            format!("{attributes:04x}"),
            format!("{base:08x}"),
            format!("{limit:08x}")
        ])
    };
    let table =
        |one: &TableRegister| json!([format!("{:08x}", one.base), format!("{:04x}", one.limit)]);
    let mut object = Map::new();
    for (name, value) in GENERAL.into_iter().zip(state.general.to_array()) {
        object.insert(name.into(), word(value));
    }
    for (name, value) in SEGMENTS.into_iter().zip(&state.segments) {
        object.insert(name.into(), segment(value));
    }
    for (name, value) in [
        ("eip", word(state.eip)),
        ("eflags", word(state.eflags.0)),
        ("tr", segment(&state.tr)),
        ("ldtr", segment(&state.ldtr)),
        ("gdtr", table(&state.gdtr)),
        ("idtr", table(&state.idtr)),
        ("cr0", word(state.cr0)),
        ("cr2", word(state.cr2)),
        ("cr3", word(state.cr3)),
        ("cr4", word(state.cr4)),
        ("interrupt_shadow", state.interrupt_shadow.into()),
        ("nmi_blocked", state.nmi_blocked.into()),
    ] {
        object.insert(name.into(), value);
    }
    object.into()
}

/// Reads what [`to_json`] wrote. What is missing or malformed is named.
pub(super) fn from_json(value: &Value) -> Result<Exact, &'static str> {
    let state = state_from_json(&value["state"])?;
    let processor = &value["processor"];
    let small = |value: &Value| value.as_u64().and_then(|value| u8::try_from(value).ok());
    let mut memory = KnownBytes::default();
    for (address, bytes) in value["memory"].as_object().ok_or("memory")? {
        let address = address_from(address).ok_or("an address of memory")?;
        for (at, byte) in (address..).zip(bytes_from(bytes).ok_or("bytes of memory")?) {
            memory.set(at, byte);
        }
    }
    let mut changed = Vec::new();
    for (address, bytes) in value["changed"].as_object().ok_or("changed")? {
        let start = address_from(address).ok_or("an address of changed")?;
        let before = bytes_from(&bytes[0]).ok_or("bytes before")?;
        let after = bytes_from(&bytes[1]).ok_or("bytes after")?;
        changed.extend(
            (start..)
                .zip(before.into_iter().zip(after))
                .map(|(address, (before, after))| ChangedByte { address, before, after }),
        );
    }
    changed.sort_by_key(|byte| byte.address);
    Ok(Exact {
        operation: operation_from_json(value).ok_or("operation")?,
        before: state,
        processor: Processor {
            vendor: match processor["vendor"].as_str().ok_or("processor.vendor")? {
                "amd" => Vendor::Amd,
                "intel" => Vendor::Intel,
                _ => return Err("processor.vendor"),
            },
            physical_bits: small(&processor["physical_bits"])
                .filter(|bits| (32..=PHYSICAL_BITS).contains(bits))
                .ok_or("processor.physical_bits")?,
            pse36: processor["pse36"].as_bool().ok_or("processor.pse36")?,
            inner_stack_bytes: small(&processor["inner_stack_bytes"])
                .ok_or("processor.inner_stack_bytes")?,
        },
        memory,
        changed,
        touched: Vec::new(),
        all_touched: false,
        decided: true,
    })
}

/// Processors have no more physical address bits (SDM vol. 3A, "Paging").
const PHYSICAL_BITS: u8 = 52;

/// A physical address. A file may hold any number; arithmetic on addresses relies on there being room above.
fn address_from(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok().filter(|address| *address < 1 << PHYSICAL_BITS)
}

fn bytes_from(value: &Value) -> Option<Vec<u8>> {
    let (pairs, rest) = value.as_str()?.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

fn word_from(value: &Value) -> Option<u32> {
    u32::from_str_radix(value.as_str()?, 16).ok()
}

fn operation_from_json(value: &Value) -> Option<Operation> {
    let length = || value["length"].as_u64().and_then(|length| u8::try_from(length).ok());
    let name = value["operation"].as_str()?;
    if name == "iret" {
        let size = match value["word_size"].as_u64()? {
            2 => OperandSize::Bits16,
            4 => OperandSize::Bits32,
            _ => return None,
        };
        return Some(Iret { size, length: length()? }.into());
    }
    let software = |instruction| Some(Kind::Software { instruction, length: length()? });
    let kind = match name {
        "int" => software(SoftwareInterrupt::IntN)?,
        "int3" => software(SoftwareInterrupt::Int3)?,
        "into" => software(SoftwareInterrupt::Into)?,
        "icebp" => Kind::Icebp { length: length()? },
        "fault" => Kind::Fault,
        "breakpoint" => Kind::InstructionBreakpoint,
        "trap" => Kind::Trap,
        "abort" => Kind::Abort,
        "external" => Kind::External,
        "nmi" => Kind::Nmi,
        _ => return None,
    };
    let vector = Vector(u8::try_from(word_from(&value["vector"])?).ok()?);
    let error_code = match &value["error_code"] {
        Value::Null => None,
        code => Some(word_from(code)?),
    };
    let repeating = value["repeating"].as_bool().unwrap_or(false);
    Some(Event { vector, kind, error_code, repeating }.into())
}

fn state_from_json(value: &Value) -> Result<State, &'static str> {
    let word = |name: &'static str| word_from(&value[name]).ok_or(name);
    let half = |value: &Value| word_from(value).and_then(|value| u16::try_from(value).ok());
    let segment = |name: &'static str| {
        let parts = &value[name];
        let read = || {
            Some(Segment {
                selector: half(&parts[0])?,
                attributes: half(&parts[1])?,
                base: word_from(&parts[2])?,
                limit: word_from(&parts[3])?,
            })
        };
        read().ok_or(name)
    };
    let table = |name: &'static str| {
        let parts = &value[name];
        let read = || Some(TableRegister { base: word_from(&parts[0])?, limit: half(&parts[1])? });
        read().ok_or(name)
    };
    let mut general = [0; 8];
    for (slot, name) in general.iter_mut().zip(GENERAL) {
        *slot = word(name)?;
    }
    let mut segments = [Segment::default(); 6];
    for (slot, name) in segments.iter_mut().zip(SEGMENTS) {
        *slot = segment(name)?;
    }
    Ok(State {
        general: General::from_array(general),
        eip: word("eip")?,
        eflags: ia32::Eflags(word("eflags")?),
        segments,
        tr: segment("tr")?,
        ldtr: segment("ldtr")?,
        gdtr: table("gdtr")?,
        idtr: table("idtr")?,
        cr0: word("cr0")?,
        cr2: word("cr2")?,
        cr3: word("cr3")?,
        cr4: word("cr4")?,
        interrupt_shadow: value["interrupt_shadow"]
            .as_u64()
            .and_then(|shadow| u8::try_from(shadow).ok())
            .ok_or("interrupt_shadow")?,
        nmi_blocked: value["nmi_blocked"].as_bool().ok_or("nmi_blocked")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some(operation: Operation, words: [u32; 20]) -> Exact {
        let mut state = State { nmi_blocked: words[0] & 1 != 0, ..State::default() };
        state.general = General::from_array(std::array::from_fn(|n| words[n]));
        [state.eip, state.eflags.0, state.cr0, state.cr2, state.cr3, state.cr4] =
            std::array::from_fn(|n| words[8 + n]);
        for (n, segment) in
            state.segments.iter_mut().chain([&mut state.tr, &mut state.ldtr]).enumerate()
        {
            *segment = Segment {
                selector: words[n] as u16,
                attributes: words[n + 1] as u16,
                base: words[n + 2],
                limit: words[n + 3],
            };
        }
        state.gdtr = TableRegister { base: words[14], limit: words[15] as u16 };
        state.idtr = TableRegister { base: words[16], limit: words[17] as u16 };
        state.interrupt_shadow = words[18] as u8;
        let mut memory = KnownBytes::default();
        for (n, word) in words.iter().enumerate() {
            memory.set(u64::from(*word) + n as u64, n as u8);
            memory.set(0x1000 + n as u64, *word as u8);
        }
        let changed = (0..20u8)
            .map(|n| ChangedByte {
                address: 0x1000 + u64::from(n / 4) * 8 + u64::from(n),
                before: n,
                after: words[usize::from(n)] as u8,
            })
            .collect();
        let processor = Processor::AMD;
        Exact {
            operation,
            before: state,
            processor,
            memory,
            changed,
            touched: Vec::new(),
            all_touched: false,
            decided: true,
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(words: [u32; 20], code: u32, which in 0usize..12) {
            let length = 3;
            let operation = [
                Event::int(0x80).into(),
                Event::int3().into(),
                Event::into().into(),
                Event::icebp().into(),
                Event::fault(Vector::PF, Some(code)).into(),
                Event::fault(Vector::DE, None).into(),
                Event::trap(Vector::DB).into(),
                Event::nmi().into(),
                Event::double_fault().into(),
                Event { repeating: true, ..Event::external(code as u8) }.into(),
                Iret { size: OperandSize::Bits16, length }.into(),
                Iret { size: OperandSize::Bits32, length }.into(),
            ][which];
            let exact = some(operation, words);
            let text = to_json(&exact).unwrap().to_string();
            let read = from_json(&serde_json::from_str(&text).unwrap());
            prop_assert_eq!(read, Ok(exact));
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let exact = some(Event::int(3).into(), [7; 20]);
        let whole = to_json(&exact).unwrap();
        for name in ["operation", "memory", "changed"] {
            let mut object = whole.clone();
            object.as_object_mut().unwrap().remove(name);
            assert_eq!(from_json(&object), Err(name));
        }
        for name in ["memory", "changed"] {
            let mut object = whole.clone();
            let bytes = if name == "memory" { "0000".into() } else { json!(["0000", "1111"]) };
            object[name]["ffffffffffffffff"] = bytes;
            assert!(from_json(&object).is_err_and(|what| what.starts_with("an address of")));
        }
        let mut object = whole;
        object["state"]["gdtr"] = "nothing".into();
        assert_eq!(from_json(&object), Err("gdtr"));
    }
}

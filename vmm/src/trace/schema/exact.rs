//! What exact mode adds to a record: all that the model needs to explain it again.
//!
//! ```json
//! {"operation":"int","vector":"80","length":2,
//!  "processor":{"vendor":"amd","physical_bits":40,"pse36":true,"inner_stack_bytes":6},
//!  "state":{"eax":"…",…,"cs":["001b","c0fb","00000000","ffffffff"],…,"gdtr":["c0108000","002f"],…},
//!  "memory":{"00108008":"ffff0000009acf00",…},
//!  "changed":{"0010bfec":["00000000…","c18f0408…"]}}
//! ```
//! A segment register is its selector, attributes, base and limit. Runs of bytes stand under their physical address
//! in the order of memory.

use super::hex;
use super::state::StateRecord;
use crate::entry::{Exact, KnownBytes};
use crate::machine::ChangedByte;
use ia32::{
    Interruption, InterruptionKind, Iret, OperandSize, Operation, Processor, SoftwareInterrupt,
    Vector, Vendor,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An event or an IRET with what went into it and what it did to memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactRecord {
    /// What happened.
    pub operation: OperationName,
    /// The vector of an event.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub vector: Option<u8>,
    /// Bytes of the instruction, where one raised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u8>,
    /// The error code of an exception.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex::option")]
    pub error_code: Option<u32>,
    /// It came between two iterations of a repeated instruction.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeating: bool,
    /// Bytes of the words that an IRET pops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word_size: Option<u8>,
    /// What the model has to know of the processor.
    pub processor: ProcessorRecord,
    /// The state before.
    pub state: Box<StateRecord>,
    /// Memory before, as far as the model reads or writes it.
    pub memory: BTreeMap<Address, Bytes>,
    /// All bytes that changed: before and after.
    pub changed: BTreeMap<Address, (Bytes, Bytes)>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationName {
    Int,
    Int3,
    Into,
    Icebp,
    Fault,
    Breakpoint,
    Trap,
    Abort,
    External,
    Nmi,
    Iret,
}

/// A physical address. A file may hold any number; arithmetic on addresses relies on there being room above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub u64);

/// Processors have no more physical address bits (SDM vol. 3A, "Paging").
const PHYSICAL_BITS: u8 = 52;

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("{:08x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(from)?;
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let address = if digits { u64::from_str_radix(&text, 16).ok() } else { None };
        address.filter(|address| *address < 1 << PHYSICAL_BITS).map(Address).ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"a physical address")
        })
    }
}

/// A run of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hex::bytes_text(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(from)?;
        hex::bytes_from(&text).map(Bytes).ok_or_else(|| {
            de::Error::invalid_value(de::Unexpected::Str(&text), &"bytes in hexadecimal")
        })
    }
}

/// What the model has to know of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessorRecord {
    /// `amd` or `intel`.
    pub vendor: VendorName,
    /// Physical address bits.
    pub physical_bits: u8,
    /// It has 36-bit page-size extensions.
    pub pse36: bool,
    /// How many bytes of an inner stack's entry have to lie within the TSS limit.
    pub inner_stack_bytes: u8,
}

/// Who made a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VendorName {
    Amd,
    Intel,
}

impl ExactRecord {
    /// None for an operation that exact mode does not produce.
    pub fn new(exact: &Exact) -> Option<Self> {
        let Processor { vendor, physical_bits, pse36, inner_stack_bytes } = exact.processor;
        let mut record = ExactRecord {
            operation: OperationName::Iret,
            vector: None,
            length: None,
            error_code: None,
            repeating: false,
            word_size: None,
            processor: ProcessorRecord {
                vendor: if vendor == Vendor::Amd { VendorName::Amd } else { VendorName::Intel },
                physical_bits,
                pse36,
                inner_stack_bytes,
            },
            state: Box::new((&exact.before).into()),
            memory: (exact.memory.runs().into_iter())
                .map(|(address, bytes)| (Address(address), Bytes(bytes)))
                .collect(),
            changed: (exact.changed)
                .chunk_by(|one, next| one.address + 1 == next.address)
                .map(|run| {
                    let before = Bytes(run.iter().map(|byte| byte.before).collect());
                    let after = Bytes(run.iter().map(|byte| byte.after).collect());
                    (Address(run[0].address), (before, after))
                })
                .collect(),
        };
        match &exact.operation {
            Operation::Iret(iret) => {
                record.word_size = Some(iret.size.bytes() as u8);
                record.length = Some(iret.length);
            }
            Operation::Interruption(event) => {
                let (name, length) = name_of(event.kind);
                record.operation = name;
                record.length = length;
                record.vector = Some(event.vector.0);
                record.error_code = event.error_code;
                record.repeating = event.repeating;
            }
            Operation::Far(_) => return None,
        }
        Some(record)
    }

    /// The values that this was made of.
    ///
    /// # Errors
    /// Names what does not fit together.
    pub fn to_exact(&self) -> Result<Exact, &'static str> {
        let ProcessorRecord { vendor, physical_bits, pse36, inner_stack_bytes } = self.processor;
        if !(32..=PHYSICAL_BITS).contains(&physical_bits) {
            return Err("processor.physical_bits");
        }
        let mut memory = KnownBytes::default();
        for (Address(address), Bytes(bytes)) in &self.memory {
            for (at, byte) in (*address..).zip(bytes) {
                memory.set(at, *byte);
            }
        }
        let mut changed = Vec::new();
        for (Address(start), (Bytes(before), Bytes(after))) in &self.changed {
            let bytes = before.iter().zip(after);
            changed.extend((*start..).zip(bytes).map(|(address, (before, after))| ChangedByte {
                address,
                before: *before,
                after: *after,
            }));
        }
        changed.sort_by_key(|byte| byte.address);
        Ok(Exact {
            operation: self.operation().ok_or("operation")?,
            before: (&*self.state).into(),
            processor: Processor {
                vendor: match vendor {
                    VendorName::Amd => Vendor::Amd,
                    VendorName::Intel => Vendor::Intel,
                },
                physical_bits,
                pse36,
                inner_stack_bytes,
            },
            memory,
            changed,
            touched: Vec::new(),
            all_touched: false,
            decided: true,
        })
    }

    fn operation(&self) -> Option<Operation> {
        let software =
            |instruction| Some(InterruptionKind::Software { instruction, length: self.length? });
        let kind = match self.operation {
            OperationName::Iret => {
                let size = match self.word_size? {
                    2 => OperandSize::Bits16,
                    4 => OperandSize::Bits32,
                    _ => return None,
                };
                return Some(Iret { size, length: self.length? }.into());
            }
            OperationName::Int => software(SoftwareInterrupt::IntN)?,
            OperationName::Int3 => software(SoftwareInterrupt::Int3)?,
            OperationName::Into => software(SoftwareInterrupt::Into)?,
            OperationName::Icebp => InterruptionKind::Icebp { length: self.length? },
            OperationName::Fault => InterruptionKind::Fault,
            OperationName::Breakpoint => InterruptionKind::InstructionBreakpoint,
            OperationName::Trap => InterruptionKind::Trap,
            OperationName::Abort => InterruptionKind::Abort,
            OperationName::External => InterruptionKind::External,
            OperationName::Nmi => InterruptionKind::Nmi,
        };
        let vector = Vector(self.vector?);
        let ExactRecord { error_code, repeating, .. } = *self;
        Some(Interruption { vector, kind, error_code, repeating }.into())
    }
}

fn name_of(kind: InterruptionKind) -> (OperationName, Option<u8>) {
    match kind {
        InterruptionKind::Software { instruction: SoftwareInterrupt::IntN, length } => {
            (OperationName::Int, Some(length))
        }
        InterruptionKind::Software { instruction: SoftwareInterrupt::Int3, length } => {
            (OperationName::Int3, Some(length))
        }
        InterruptionKind::Software { instruction: SoftwareInterrupt::Into, length } => {
            (OperationName::Into, Some(length))
        }
        InterruptionKind::Icebp { length } => (OperationName::Icebp, Some(length)),
        InterruptionKind::Fault => (OperationName::Fault, None),
        InterruptionKind::InstructionBreakpoint => (OperationName::Breakpoint, None),
        InterruptionKind::Trap => (OperationName::Trap, None),
        InterruptionKind::Abort => (OperationName::Abort, None),
        InterruptionKind::External => (OperationName::External, None),
        InterruptionKind::Nmi => (OperationName::Nmi, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ia32::{General, Segment, State, TableRegister};
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

    fn written(exact: &Exact) -> serde_json::Value {
        serde_json::to_value(ExactRecord::new(exact).unwrap()).unwrap()
    }

    fn read(value: &serde_json::Value) -> Result<Exact, String> {
        let record: ExactRecord =
            serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())?;
        record.to_exact().map_err(Into::into)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(words: [u32; 20], code: u32, which in 0usize..12) {
            let length = 3;
            let operation = [
                Interruption::int(0x80).into(),
                Interruption::int3().into(),
                Interruption::into().into(),
                Interruption::icebp().into(),
                Interruption::fault(Vector::PF, Some(code)).into(),
                Interruption::fault(Vector::DE, None).into(),
                Interruption::trap(Vector::DB).into(),
                Interruption::nmi().into(),
                Interruption::double_fault().into(),
                Interruption { repeating: true, ..Interruption::external(code as u8) }.into(),
                Iret { size: OperandSize::Bits16, length }.into(),
                Iret { size: OperandSize::Bits32, length }.into(),
            ][which];
            let exact = some(operation, words);
            prop_assert_eq!(read(&written(&exact)), Ok(exact));
        }
    }

    #[test]
    fn what_is_missing_or_malformed_is_named() {
        let exact = some(Interruption::int(3).into(), [7; 20]);
        let whole = written(&exact);
        for name in ["operation", "memory", "changed", "state"] {
            let mut object = whole.clone();
            object.as_object_mut().unwrap().remove(name);
            assert!(read(&object).unwrap_err().contains(name), "{name}");
        }
        for name in ["memory", "changed"] {
            for (address, bytes) in [("ffffffffffffffff", "0000"), ("00001000", "00 0")] {
                let mut object = whole.clone();
                object[name][address] = match name {
                    "memory" => bytes.into(),
                    _ => serde_json::json!([bytes, bytes]),
                };
                assert!(read(&object).is_err(), "{name} {address} {bytes}");
            }
        }
        let mut object = whole.clone();
        object["state"]["gdtr"] = "nothing".into();
        assert!(read(&object).is_err());
        let mut object = whole;
        object["processor"]["physical_bits"] = 200.into();
        assert_eq!(read(&object), Err("processor.physical_bits".into()));
    }
}

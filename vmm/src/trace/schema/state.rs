//! All registers that the model knows, as exact mode writes them.

use super::hex;
use ia32::{General, Segment, State, TableRegister};
use serde::de::{self, Deserializer};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SegmentRecord(Segment);

impl Serialize for SegmentRecord {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Segment { selector, attributes, base, limit } = self.0;
        [hex::text(selector), hex::text(attributes), hex::text(base), hex::text(limit)]
            .serialize(out)
    }
}

impl<'de> Deserialize<'de> for SegmentRecord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let [selector, attributes, base, limit] = <[Cow<'_, str>; 4]>::deserialize(from)?;
        let read = || {
            Some(Segment {
                selector: hex::parse(&selector)?,
                attributes: hex::parse(&attributes)?,
                base: hex::parse(&base)?,
                limit: hex::parse(&limit)?,
            })
        };
        read().map(SegmentRecord).ok_or_else(|| {
            de::Error::custom("a segment is its selector, attributes, base and limit")
        })
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TableRecord(TableRegister);

impl Serialize for TableRecord {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        [hex::text(self.0.base), hex::text(self.0.limit)].serialize(out)
    }
}

impl<'de> Deserialize<'de> for TableRecord {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let [base, limit] = <[Cow<'_, str>; 2]>::deserialize(from)?;
        let read = || Some(TableRegister { base: hex::parse(&base)?, limit: hex::parse(&limit)? });
        read()
            .map(TableRecord)
            .ok_or_else(|| de::Error::custom("a table register is its base and limit"))
    }
}

/// All registers that the model knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    #[serde(with = "hex")]
    eax: u32,
    #[serde(with = "hex")]
    ecx: u32,
    #[serde(with = "hex")]
    edx: u32,
    #[serde(with = "hex")]
    ebx: u32,
    #[serde(with = "hex")]
    esp: u32,
    #[serde(with = "hex")]
    ebp: u32,
    #[serde(with = "hex")]
    esi: u32,
    #[serde(with = "hex")]
    edi: u32,
    #[serde(with = "hex")]
    eip: u32,
    #[serde(with = "hex")]
    eflags: u32,
    es: SegmentRecord,
    cs: SegmentRecord,
    ss: SegmentRecord,
    ds: SegmentRecord,
    fs: SegmentRecord,
    gs: SegmentRecord,
    tr: SegmentRecord,
    ldtr: SegmentRecord,
    gdtr: TableRecord,
    idtr: TableRecord,
    #[serde(with = "hex")]
    cr0: u32,
    #[serde(with = "hex")]
    cr2: u32,
    #[serde(with = "hex")]
    cr3: u32,
    #[serde(with = "hex")]
    cr4: u32,
    interrupt_shadow: u8,
    nmi_blocked: bool,
}

impl From<&State> for StateRecord {
    fn from(state: &State) -> Self {
        let [eax, ecx, edx, ebx, esp, ebp, esi, edi] = state.general.to_array();
        let [es, cs, ss, ds, fs, gs] = state.segments.map(SegmentRecord);
        StateRecord {
            eax,
            ecx,
            edx,
            ebx,
            esp,
            ebp,
            esi,
            edi,
            eip: state.eip,
            eflags: state.eflags.0,
            es,
            cs,
            ss,
            ds,
            fs,
            gs,
            tr: SegmentRecord(state.tr),
            ldtr: SegmentRecord(state.ldtr),
            gdtr: TableRecord(state.gdtr),
            idtr: TableRecord(state.idtr),
            cr0: state.cr0,
            cr2: state.cr2,
            cr3: state.cr3,
            cr4: state.cr4,
            interrupt_shadow: state.interrupt_shadow,
            nmi_blocked: state.nmi_blocked,
        }
    }
}

impl From<&StateRecord> for State {
    fn from(one: &StateRecord) -> Self {
        State {
            general: General::from_array([
                one.eax, one.ecx, one.edx, one.ebx, one.esp, one.ebp, one.esi, one.edi,
            ]),
            eip: one.eip,
            eflags: ia32::Eflags(one.eflags),
            segments: [one.es, one.cs, one.ss, one.ds, one.fs, one.gs].map(|segment| segment.0),
            tr: one.tr.0,
            ldtr: one.ldtr.0,
            gdtr: one.gdtr.0,
            idtr: one.idtr.0,
            cr0: one.cr0,
            cr2: one.cr2,
            cr3: one.cr3,
            cr4: one.cr4,
            interrupt_shadow: one.interrupt_shadow,
            nmi_blocked: one.nmi_blocked,
        }
    }
}

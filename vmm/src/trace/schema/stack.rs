//! Stacks of real mode.

use super::hex;
use crate::run::StackLoad;
use ia32::State;
use serde::{Deserialize, Serialize};

/// SS or ESP was loaded by a kernel that started in real mode, before there are probes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRecord {
    /// What loaded it: `mov ss`, `lss esp`.
    pub instruction: String,
    /// Before it.
    pub before: LoadedStack,
    /// After it.
    pub after: LoadedStack,
}

/// Where code and stack were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedStack {
    /// `real` or `protected`.
    pub mode: String,
    /// CS.
    #[serde(with = "hex")]
    pub cs: u16,
    /// EIP.
    #[serde(with = "hex")]
    pub eip: u32,
    /// SS.
    #[serde(with = "hex")]
    pub ss: u16,
    /// ESP, or SP where the stack segment is of 16 bits.
    #[serde(with = "hex")]
    pub esp: u32,
    /// The linear address that SS:ESP means.
    #[serde(with = "hex")]
    pub linear: u32,
}

impl LoadedStack {
    /// The processor was in protected mode.
    pub fn protected(&self) -> bool {
        self.mode == "protected"
    }
}

impl From<&State> for LoadedStack {
    fn from(state: &State) -> Self {
        LoadedStack {
            mode: if state.protected() { "protected" } else { "real" }.into(),
            cs: state.cs().selector,
            eip: state.eip,
            ss: state.ss().selector,
            esp: state.stack_pointer(),
            linear: state.stack_address(),
        }
    }
}

impl From<&StackLoad> for StackRecord {
    fn from(load: &StackLoad) -> Self {
        StackRecord {
            instruction: load.instruction(),
            before: (&load.before).into(),
            after: (&load.after).into(),
        }
    }
}

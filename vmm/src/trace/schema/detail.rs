//! What a run with `--report` writes between the other lines: stacks, code and names, for the report page.
//!
//! They are no part of what was judged. Whoever reads a trace passes over them; the page shows them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Words that lie one behind the other: the first one's address, and eight digits for each, all hexadecimal.
pub type Words = (String, String);

/// A line for the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PageRecord {
    /// What lies on the stacks of an entry or a return, and where its code is.
    Detail(DetailRecord),
    /// Code that entries and returns were seen at; numbered from 0 in the order in which they come, at the end.
    Code(CodeRecord),
    /// Names of what words on stacks point to.
    Names {
        /// By eight hexadecimal digits.
        names: BTreeMap<String, String>,
    },
}

/// More about one entry, or one return.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetailRecord {
    /// The entry's `sequence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// Or the return, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#return: Option<u64>,
    /// Which code was interrupted, or has the IRET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<usize>,
    /// Which is the handler's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<usize>,
    /// The kernel stack in front of the handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackDetail>,
    /// The interrupted stack, from its ESP upwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Words>,
    /// Of an entry that stayed on its stack: where the object ends that the stack is, eight hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<String>,
    /// What ends there, or, where the stack was changed, where the frame begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_name: Option<String>,
    /// What has changed in the entry's stack by the time of the return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Vec<Words>>,
}

/// A kernel stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackDetail {
    /// Where the pages that were looked at begin and end: eight hexadecimal digits.
    pub from: String,
    /// See there.
    pub to: String,
    /// How many pages in a row are mapped below that of ESP; none if more than were looked at.
    pub below: Option<u32>,
    /// The words from ESP upwards that are not zero.
    pub words: Vec<Words>,
}

/// Code around an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeRecord {
    /// Where that is: function, file and line.
    pub name: Option<String>,
    /// The instruction's EIP: eight hexadecimal digits.
    pub at: String,
    /// EIP, bytes and text of each instruction.
    pub code: Vec<[String; 3]>,
    /// The source, if it was found.
    pub source: Option<SourceRecord>,
}

/// Lines of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The file.
    pub path: String,
    /// The line that is meant.
    pub line: u32,
    /// The number of the first one that is here.
    pub first: usize,
    /// They.
    pub lines: Vec<String>,
    /// The file was changed after the kernel was built.
    pub newer: bool,
}

impl PageRecord {
    /// The record as a line, its end of line included.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("the fields of a record are all of JSON");
        line.push(b'\n');
        line
    }
}

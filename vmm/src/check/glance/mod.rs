//! What memory tells at a stop, beside the words of the frame.
//!
//! Rules are functions over values. What they need of memory is read here, once, while the guest stands
//! still, and only where something makes it worth reading: an entry falls on a live frame, an IRET was
//! refused, DF is set where the kernel leaves.
//!
//! ```text
//!  at an entry    the IRET that it refuses, by the model      refusal
//!                 the words that it overwrites live on        kept_words
//!                 the low end of the stack above              damage
//!                 what it used is not in memory any more      overwritten
//!                 the handler before was none                 behind_blank_handler
//!                 the handler takes another stack             loads_stack
//!                 variables by the program's DS               data_segment
//!                 a table that the stack lies in              table_under
//!                 the ESP0 that is missing is in a copy       other_tss
//!                 POPAW in the handler of a refused IRET      narrow
//!                 the program's stack, if it is not its alone interrupted_stack
//!  at a return    string instructions behind the handler      string_instruction
//!                 a stack that nobody was on yet              fresh_stack
//!                 where the popped EIP lies in its segment    code_limit
//!                 what the next entry will miss               way_back
//!                 a use of DS, which the IRET makes null      nulled
//!                 ESP was loaded above the frame popped       loads_stack
//!                 what was interrupted is on the user's stack signal
//!                 where a program's stack begins              begun_program
//!                 another program has used its stack          shared_user_stack
//!  at both        the neighbour's frame has changed           damage
//!                 a stack's low end, where symbols tell it    edge
//! ```
//! What was seen is data and needs nothing of the history that keeps it. When to look is `look`'s, which asks the
//! history.

mod damage;
mod data_segment;
mod edge;
mod fresh_stack;
mod kept_words;
mod loads_stack;
mod look;
mod narrow;
mod nulled;
mod other_tss;
mod overwritten;
mod refusal;
mod signal;
mod string_instruction;
mod table_under;
mod user_stack;
mod uses_ds;

pub(super) use damage::Damage;
pub(super) use data_segment::Foreign;
pub(super) use edge::{Edge, Overrun};
pub(super) use fresh_stack::{BELOW, DENSE, FreshStack};
pub(super) use loads_stack::Reset;
pub(super) use narrow::Narrow;
pub(super) use nulled::Nulled;
pub(super) use refusal::{Blank, Called, Refusal};
pub(super) use string_instruction::StringInstruction;
pub(super) use table_under::TableUnder;
pub(super) use user_stack::{BegunProgram, InterruptedStack, SharedUserStack};

use super::history::frames::Below;
use super::shifted::Shifted;
use super::way_back::{self, WayBack};

/// What memory tells at a stop.
#[derive(Clone, Debug, Default)]
pub(super) struct Glance {
    /// Why the IRET was refused that this fault points at.
    pub(super) refusal: Option<Box<Refusal>>,
    /// A whole frame beside the one that the IRET pops, where that cannot be meant.
    pub(super) shifted: Option<Box<Shifted>>,
    /// POPAW or PUSHAW in the handler that this IRET ends.
    pub(super) narrow: Option<Narrow>,
    /// Where the handler has loaded ESP with a place above the frame that is popped, on one stack with it.
    pub(super) reset: Option<Reset>,
    /// What was interrupted has been put on the program's stack, and ESP leads below it: a signal.
    pub(super) signal: bool,
    /// EIP and ESP of the frame that this entry overwrites stand near each other elsewhere too: the
    /// kernel has copied them. None if it overwrites none.
    pub(super) words_are_kept: Option<bool>,
    /// Where they are not: a TSS that TR does not name, with the ESP0 of the stack that the last return left.
    pub(super) other_tss: Option<u32>,
    /// The stack right below the one that is entered.
    pub(super) below: Option<Below>,
    /// HLT stands right before the interrupted place.
    pub(super) behind_halt: bool,
    /// The frame of a neighbour has been overwritten.
    pub(super) damage: Option<Box<Damage>>,
    /// A string instruction that the handler can reach without CLD.
    pub(super) string_instruction: Option<StringInstruction>,
    /// What lies around ESP0, where no entry was on it yet.
    pub(super) fresh_stack: Option<Box<FreshStack>>,
    /// The limit of the code segment that is returned to, where EIP lies beyond it.
    pub(super) code_limit: Option<u32>,
    /// A use of DS where the return has made it null.
    pub(super) nulled: Option<Nulled>,
    /// The table that the stack lies in.
    pub(super) table_under: Option<TableUnder>,
    /// CR3 and page of the stack that was looked at for that.
    pub(super) looked_under: Option<(u32, u32)>,
    /// What the next entry from the ring that is returned to will miss.
    pub(super) way_back: Option<Box<WayBack>>,
    /// What decided about that.
    pub(super) way_back_of: Option<way_back::Key>,
    /// The low end of the stack that runs, and what lies below it.
    pub(super) edge: Option<Box<Edge>>,
    /// What has come of it since.
    pub(super) overrun: Option<Box<Overrun>>,
    /// The handler loads ESP before it calls anything; looked at where the stack is new.
    pub(super) loads_stack_pointer: bool,
    /// The words at ESP are no frame's, and the gate of the entry before leads to where there is no code.
    pub(super) behind_blank_handler: bool,
    /// A variable that the handler reaches for by the program's DS.
    pub(super) foreign: Option<Foreign>,
    /// The handler that was looked at for that.
    pub(super) looked_at: Option<u32>,
    /// The program that this return begins.
    pub(super) begun_program: Option<Box<BegunProgram>>,
    /// The stack of a program that is interrupted, where another one was begun on the same.
    pub(super) interrupted_stack: Option<InterruptedStack>,
    /// That stack lies in other memory now.
    pub(super) user_stack_moved: bool,
    /// What that other one has done to it.
    pub(super) shared_user_stack: Option<Box<SharedUserStack>>,
    /// What the processor read for this entry is not in memory any more.
    pub(super) overwritten: Option<String>,
}

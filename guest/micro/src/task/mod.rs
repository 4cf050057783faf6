//! Tasks: a program in ring 3, and the stack on which it is in ring 0.
//!
//! | file | what it tells |
//! | --- | --- |
//! | `block` | the 16 KiB in which a task's record and its kernel stack lie |
//! | `stack` | the switch from one kernel stack to another, and what a new stack starts with |
//! | `table` | all tasks, and who is next |
//! | `idle` | what runs when nobody is, and what it clears away |

mod block;
pub(crate) mod idle;
mod record;
mod stack;
pub(crate) mod table;

pub(crate) use record::{Next, Task};

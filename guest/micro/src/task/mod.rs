//! Tasks: a program in ring 3, and the stack on which it is in ring 0.
//!
//! | file | what it tells |
//! | --- | --- |
//! | `block` | the 16 KiB in which a task's record and its kernel stack lie |
//! | `record` | what is known of a task |
//! | `name`, `id` | what tasks are called by people, and by each other |
//! | `stack` | the switch from one kernel stack to another, and what a new stack starts with |
//! | `table` | all tasks |
//! | `scheduler` | who is next; waiting, and being woken |
//! | `life` | fork, threads, exec; how tasks end, and who hears of it |
//! | `message` | call, receive, reply, notify |
//! | `fast` | the same for short messages, when nobody has to be waited for |
//! | `fpu` | x87 and SSE registers, moved only when somebody uses them |
//! | `idle` | what runs when nobody is ready |

mod block;
pub(crate) mod fast;
pub(crate) mod fpu;
mod id;
pub(crate) mod idle;
pub(crate) mod life;
pub(crate) mod message;
mod name;
mod record;
pub(crate) mod scheduler;
mod stack;
pub(crate) mod table;

pub(crate) use block::of_stack as block_of_stack;
pub(crate) use id::Id;
pub(crate) use name::Name;
pub(crate) use record::{State, Task};

//! Tasks: a program in ring 3, and the stack on which it is in ring 0.
//!
//! | file | what it tells |
//! | --- | --- |
//! | `block` | the 16 KiB in which a task's record and its kernel stack lie |
//! | `mail` | what a task is sending, and what it has been sent |
//! | `record` | what is known of a task |
//! | `name`, `id` | what tasks are called by people, and by each other |
//! | `stack` | from one kernel stack to another, and what a new stack starts with |
//! | `fpu` | x87 and SSE registers, moved only when somebody uses them |
//! | `switch` | from one task to another: kernel stack, memory, ports, FPU |
//! | `table` | all tasks |
//! | `scheduler` | who is next; waiting, and being woken |
//! | `life` | fork, threads, exec; how tasks end, and who hears of it |
//! | `message` | call, receive, reply, notify |
//! | `fast` | the same for short messages, when nobody has to be waited for |
//! | `idle` | what runs when nobody is ready |

mod block;
pub(crate) mod fast;
pub(crate) mod fpu;
mod id;
pub(crate) mod idle;
pub(crate) mod life;
mod mail;
pub(crate) mod message;
mod name;
mod record;
pub(crate) mod scheduler;
mod stack;
mod switch;
pub(crate) mod table;

pub(crate) use block::of_stack as block_of_stack;
pub(crate) use id::Id;
pub(crate) use mail::Message;
pub(crate) use name::Name;
pub(crate) use record::{State, Task};

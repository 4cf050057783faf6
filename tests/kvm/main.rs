//! esp0 on KVM, as a whole. One module a subject; a test's name says what it is that is so.

mod cases;
mod catching;
mod causes;
mod checkpoint;
mod claims;
mod classic;
mod conform;
mod endings;
mod exact;
mod exact_returns;
mod hostile;
mod library;
mod outputs;
mod ownership;
mod pc;
mod plants;
mod processor;
mod program;
mod repeating;
mod rewritten;
mod stacks;
mod telling;
mod userland;
mod workload;
mod writer;

//! The model against what the manuals publish: each row of the architecture's tables as a case, and
//! properties that hold for every input.

mod case;
mod chain;
mod delivery;
mod hostile;
mod invariants;
mod lab;
mod pages;
mod properties;
mod refusals;
mod returns;
mod tasks;
mod virtual_8086;

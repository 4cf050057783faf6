//! What the IA-32 manuals say, as plain data and pure functions.
#![no_std]

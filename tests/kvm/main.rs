//! The tests of esp0 that need KVM: one binary, so that one KVM host serves them all.

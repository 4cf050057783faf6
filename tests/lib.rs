//! What the tests of esp0 that need KVM have in common.

//! The values that decide something, out of which cases are drawn.

use crate::conform::layout::*;

/// Segments that a code selector may name, good ones first.
pub(super) const CODES: [u16; 11] = [
    CODE_0,
    CODE_3 | 3,
    CODE_1 | 1,
    CODE_2 | 2,
    CONFORMING_0,
    CONFORMING_3 | 3,
    CODE_0_16,
    CODE_3_16 | 3,
    0x0c,
    0x1f,
    0x3c,
];
pub(super) const STACKS: [u16; 12] = [
    DATA_0,
    DATA_3 | 3,
    DATA_1 | 1,
    DATA_2 | 2,
    DATA_0_16,
    DATA_3_16 | 3,
    EXPAND_DOWN_0,
    EXPAND_DOWN_3 | 3,
    0x14,
    0x07,
    0x27,
    0x14,
];
/// Selectors that are wrong in most places.
pub(super) const ODD: [u16; 18] = [
    0,
    1,
    3,
    4,
    BEYOND,
    0xe8,
    0x44,
    TSS_CURRENT,
    TSS_OTHER,
    LDT_SLOT,
    TASK_GATE,
    CALL_GATE,
    READ_ONLY_0,
    ABSENT | 3,
    ABSENT_STACKS,
    ABSENT_STACKS + 0x1b,
    0x2c,
    0x34,
];
pub(super) const TASKS: [u16; 6] = [TSS_OTHER, TSS_SMALL, TSS_OTHER, TSS_CURRENT, TASK_GATE, 0x2c];
/// Where a stack may end: within a page, at its end, across it, unaligned, near 0.
pub(super) const TOPS: [u32; 16] = [
    ESP_0,
    STACK_0 + 0x1000,
    STACK_0 + 0x1004,
    STACK_0 + 0x1002,
    STACK_0 + 0x100a,
    STACK_0 + 0x1010,
    STACK_0 + 0x1014,
    STACK_0 + 0x0fff,
    ESP_0 - 1,
    STACK_3 + 0x1000,
    STACK_3 + 0x1006,
    0,
    4,
    8,
    0x10,
    0xffff_fffc,
];
/// Flags worth a change, one by one.
pub(super) const FLAGS: [u32; 17] = [
    1, 4, 0x10, 0x40, 0x80, 0x100, 0x200, 0x400, 0x800, 0x1000, 0x2000, 0x4000, 0x1_0000, 0x4_0000,
    0x8_0000, 0x10_0000, 0x20_0000,
];
/// Faults that a delivery may raise.
pub(super) const SECOND: [u8; 8] = [8, 10, 11, 12, 13, 14, 17, 1];

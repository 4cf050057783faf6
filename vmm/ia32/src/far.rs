//! Far JMP and CALL to a TSS or through a task gate (SDM vol. 2A, JMP and CALL, Operation, TASK-GATE
//! and TASK-STATE-SEGMENT). Far transfers to code and through call gates do not leave the task and
//! are not modelled.

use crate::event::FarTransfer;
use crate::execution::{Execution, Result, Stop};
use crate::outcome::Unmodelled;
use crate::saved::Cause;
use crate::{Branch, DescriptorKind, ReadMemory, Selector, Table, Vector};

/// The four type bits of a task gate.
const TASK_GATE: u8 = 5;

impl<M: ReadMemory + ?Sized> Execution<'_, M> {
    pub(crate) fn far_transfer(&mut self, far: &FarTransfer) -> Result<()> {
        if self.state.virtual_8086() {
            // The selector is a paragraph there.
            return Err(Stop::Unmodelled(Unmodelled::FarTransferWithinTask));
        }
        let selector = Selector(far.selector);
        let value = u32::from(selector.0);
        if selector.is_null() {
            return self.fail(Vector::GP, 0, Branch::FarNull, value);
        }
        let code = self.selector_code(selector.0);
        let Some(entry) = self.entry(selector)? else {
            return self.fail(Vector::GP, code, Branch::FarOutsideTable, value);
        };
        let too_privileged = entry.descriptor.dpl() < self.state.cpl().max(selector.rpl());
        let tss = match entry.descriptor.kind() {
            DescriptorKind::Tss { .. } => {
                self.note(Branch::FarTss, value);
                if too_privileged {
                    return self.fail(Vector::GP, code, Branch::FarTssPrivilege, value);
                }
                if selector.table() == Table::Ldt {
                    return self.fail(Vector::GP, code, Branch::FarTssLocal, value);
                }
                selector.0
            }
            DescriptorKind::Gate(TASK_GATE) => {
                let tss = (entry.descriptor.0 >> 16) as u16;
                self.note(Branch::FarGate, u32::from(tss));
                if too_privileged {
                    return self.fail(Vector::GP, code, Branch::FarGatePrivilege, value);
                }
                if !entry.descriptor.present() {
                    return self.fail(Vector::NP, code, Branch::FarGateNotPresent, value);
                }
                tss
            }
            _ => return Err(Stop::Unmodelled(Unmodelled::FarTransferWithinTask)),
        };
        let saved = self.saved_by_instruction(far.length);
        let cause = if far.call { Cause::Call } else { Cause::Jump };
        self.switch_tasks(tss, cause, &saved)?;
        self.check_new_task_eip()
    }
}

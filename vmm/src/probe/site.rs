//! An address at which the guest is to be stopped, and why.

use super::{CallGate, FarReturn, IretSite, TaskGate};

/// Why the guest is stopped at a site. One address can have several reasons: a handler that is
/// nothing but an IRET is an entry and a return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Linear address.
    pub address: u32,
    /// The vectors whose gates lead here.
    pub vectors: Vec<u8>,
    /// An IRET stands here, or behind the no-op that stands here.
    pub iret: Option<IretSite>,
    /// SYSENTER leads here.
    pub sysenter: bool,
    /// The call gates that lead here.
    pub call_gates: Vec<CallGate>,
    /// The task gates whose tasks go on here when something comes by them.
    pub task_gates: Vec<TaskGate>,
    /// A far RET stands here, or behind the no-op that stands here, and there are call gates.
    pub far_return: Option<FarReturn>,
    /// A LIDT stands here.
    pub loads_idt: bool,
    /// Linear address of the far jump that stands here, or behind the no-op that stands here, and may
    /// lead to a TSS.
    pub far_jump: Option<u32>,
    /// A task goes on here that was switched to by a jump whose probe had to be taken out. Only this
    /// once.
    pub resumes: bool,
    /// Whoever runs the guest wants it stopped here.
    pub asked: bool,
    /// The kernel left the two-byte no-op here.
    pub(super) no_op: bool,
    /// A probe is set.
    pub(super) placed: bool,
    /// The guest has put something else in the place of the code here.
    pub(super) overwritten: bool,
}

impl Site {
    pub(super) fn new(address: u32) -> Self {
        Site {
            address,
            vectors: Vec::new(),
            iret: None,
            sysenter: false,
            call_gates: Vec::new(),
            task_gates: Vec::new(),
            far_return: None,
            loads_idt: false,
            far_jump: None,
            resumes: false,
            asked: false,
            no_op: false,
            placed: false,
            overwritten: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.asked && self.is_of_no_other_use()
    }

    /// It is a site only because somebody asked for it.
    pub(crate) fn is_only_asked(&self) -> bool {
        self.asked && self.is_of_no_other_use()
    }

    fn is_of_no_other_use(&self) -> bool {
        self.vectors.is_empty()
            && self.iret.is_none()
            && !self.sysenter
            && self.call_gates.is_empty()
            && self.task_gates.is_empty()
            && self.far_return.is_none()
            && !self.loads_idt
            && self.far_jump.is_none()
            && !self.resumes
    }

    /// Which sites get the few breakpoint registers: returns are shared by all handlers, gates from
    /// 32 on are used more often than exceptions.
    pub(super) fn weight(&self) -> u8 {
        let gate = match self.vectors.iter().max() {
            Some(32..) => 2,
            Some(_) => 1,
            None if self.sysenter => 2,
            None => 0,
        };
        gate.max(if self.iret.is_some() || self.far_jump.is_some() { 3 } else { 0 })
    }
}

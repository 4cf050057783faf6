//! A run to its end, seen by an observer.

#[cfg(doc)]
use super::Ending;
use super::{End, Event, Run, StackLoad};
use crate::entry::{Entry, Return, Returned, TaskSwitch};
use crate::machine::{Machine, MachineError};
use ia32::State;

/// What the guest stopped at, for whoever looks at its memory too.
#[derive(Clone, Copy, Debug)]
pub enum Stop<'a> {
    /// In front of a handler's first instruction.
    Entry(&'a Entry),
    /// In front of an IRET.
    Return(&'a Return),
    /// At the next exit after a task switch by hardware, whatever it was for.
    Switch(&'a TaskSwitch),
    /// In ring 3, before anything was executed there: right after the IRET.
    Resumed,
    /// After one instruction of ring 0, where the kernel is followed.
    Step {
        /// The state in front of it.
        before: &'a State,
        /// The instruction; as many bytes as are mapped.
        code: &'a [u8],
    },
}

/// Looks on while a guest runs. It is handed values and a machine that cannot be changed, so nothing
/// that it does changes what the guest does next. Memory by linear address can be read only, too:
/// ```compile_fail,E0599
/// fn look(machine: &esp0::machine::Machine) {
///     machine.linear().write(0x1000, &[0xf4]);
/// }
/// ```
/// ```compile_fail,E0596
/// fn look(machine: &esp0::machine::Machine) {
///     machine.linear_mut().write(0x1000, &[0xf4]);
/// }
/// ```
pub trait Observer {
    /// The guest has stopped with `state`, and stands still: its memory can be read. Comes right
    /// before [`entry`](Observer::entry), [`leave`](Observer::leave) or
    /// [`switch`](Observer::switch), and at stops that these do not tell of.
    #[inline]
    fn look(&mut self, _machine: &Machine, _state: &State, _stop: Stop<'_>) {}

    /// The guest wrote to its console.
    fn console(&mut self, bytes: &[u8]);

    /// An event has been delivered.
    fn entry(&mut self, entry: &Entry);

    /// An IRET is about to be executed.
    fn leave(&mut self, returning: &Return);

    /// The IRET told of before has been executed; in exact mode only.
    fn returned(&mut self, _returned: &Returned) {}

    /// A kernel that started in real mode has loaded a stack, before it had an IDT.
    fn stack_load(&mut self, _load: &StackLoad) {}

    /// A far jump to a TSS has switched tasks.
    fn switch(&mut self, _switch: &TaskSwitch) {}

    /// Nothing more is wanted: the run ends as [`Ending::Enough`].
    #[inline]
    fn has_enough(&self) -> bool {
        false
    }
}

impl Run {
    /// Runs the guest to its end, and tells `observer` of each event.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses something.
    pub fn run(&mut self, observer: &mut impl Observer) -> Result<End, MachineError> {
        loop {
            if observer.has_enough() {
                self.end_with_enough();
            }
            match self.next_event()? {
                Event::Entry(entry) => {
                    observer.look(&self.machine, &entry.after, Stop::Entry(&entry));
                    observer.entry(&entry);
                }
                Event::Return(returning) => {
                    observer.look(&self.machine, &returning.state, Stop::Return(&returning));
                    observer.leave(&returning);
                }
                Event::Returned(returned) => observer.returned(&returned),
                Event::Console(bytes) => observer.console(&bytes),
                Event::Switch(switch) => {
                    let state = self.machine.vcpu.state();
                    observer.look(&self.machine, &state, Stop::Switch(&switch));
                    observer.switch(&switch);
                }
                Event::Reached(_) | Event::Sysenter(_) | Event::Preempted(_) => {}
                Event::StackLoad(load) => observer.stack_load(&load),
                Event::Resumed(state) => observer.look(&self.machine, &state, Stop::Resumed),
                Event::Step(step) => {
                    let stop = Stop::Step { before: &step.before, code: step.code() };
                    observer.look(&self.machine, &step.after, stop);
                }
                Event::End(end) => return Ok(*end),
            }
        }
    }
}

//! The command-line program.
use esp0::*;
struct Print(check::Checker);
impl run::Observer for Print {
    fn console(&mut self, bytes: &[u8]) { print!("{}", String::from_utf8_lossy(bytes)); }
    fn entry(&mut self, e: &entry::Entry) {
        let j = self.0.entry(e);
        println!("#{} t{:?} {} {} {}->{} {:04x}:{:08x} {:x?} before={} {:?}", e.sequence, j.task.map(|t|t.0), e.vector, e.kind, e.origin.ring, e.after.cpl(), e.after.ss().selector, e.after.general.esp, e.frame.words().map(|w|w.1.unwrap_or(0)).collect::<Vec<_>>(), e.before.is_some(), j.findings);
    }
    fn leave(&mut self, r: &entry::Return) {
        let j = self.0.leave(r);
        if !j.findings.is_empty() { println!("return {:?}", j.findings); }
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let g = guests::guest(&args[1]).unwrap();
    let m = machine::Machine::new(16<<20).unwrap();
    let mods: Vec<_> = g.modules.iter().map(|c| boot::ModuleFile{name:c, command:c, bytes: guests::program(c).unwrap().bytes}).collect();
    let b = boot::load(m.memory.all(), boot::KernelFile{name: g.name, bytes: g.kernel}, &mods, &args[2]).unwrap();
    let mut m = m;
    m.vcpu.set_state(&run::flat_protected_mode(&b.entry));
    let d = devices::Devices::new(16<<20);
    let o = run::Options{clock: if args[3]=="det" {run::ClockChoice::DETERMINISTIC} else {run::ClockChoice::Real}, probes: match args[4].as_str(){"patch"=>probe::Choice::Patch,"none"=>probe::Choice::None,"bp"=>probe::Choice::Breakpoint,_=>probe::Choice::Auto}, breakpoints: 4, timeout: Some(std::time::Duration::from_secs(20))};
    let mut r = run::Run::new(m, d, &o);
    let backend = host::Backend::detect();
    println!("{backend} {backend:?}");
    let mut p = Print(check::Checker::new(backend));
    let end = r.run(&mut p).unwrap();
    println!("{} {:x?} {:?} {:?}", end.ending, end.state, r.counters(), r.probes().census());
}

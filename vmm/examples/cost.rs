//! Temporary.
use std::time::Instant;
use ia32::{Segment, State, Eflags};
fn state() -> State {
    let flat = |selector, attributes| Segment { selector, attributes, base: 0, limit: 0xffff_ffff };
    let data = flat(0x10, 0xc093);
    State { eip: 0x1000, eflags: Eflags::FIXED, segments: [data, flat(8, 0xc09b), data, data, data, data],
        tr: Segment { selector: 0, attributes: 0x8b, base: 0, limit: 0xffff },
        ldtr: Segment { selector: 0, attributes: 0x82, base: 0, limit: 0xffff }, cr0: 0x11, ..State::default() }
}
fn main() {
    if std::env::args().any(|a| a == "small") { unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0); } }
    for round in 0..4 {
        let t0 = Instant::now();
        let mut m = esp0::machine::Machine::new(16 << 20).unwrap();
        let t1 = Instant::now();
        if round % 2 == 1 {
            m.memory.write(0x1000, &[0xf4; 16]).unwrap();
            let t2 = Instant::now();
            m.vcpu.set_state(&state());
            m.vcpu.run().unwrap();
            let t3 = Instant::now();
            m.vcpu.run().unwrap();
            let t4 = Instant::now();
            println!("create {:?} write {:?} run {:?} run {:?}", t1-t0, t2-t1, t3-t2, t4-t3);
        }
        let t5 = Instant::now();
        let _ = esp0::host::doctor::quick(&mut m);
        let t6 = Instant::now();
        let _ = esp0::host::doctor::quick(&mut m);
        println!("create {:?} quick {:?} again {:?}", t1-t0, t6-t5, t6.elapsed());
    }
    let t = Instant::now();
    let _ = esp0::host::Backend::detect();
    println!("detect {:?}", t.elapsed());
}

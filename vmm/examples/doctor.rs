//! Prints what the doctor sees: what works on this machine's KVM.

fn main() {
    if std::env::args().any(|a| a == "small") { unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0); } }
    let quick = std::env::args().any(|argument| argument == "quick");
    if quick {
        for _ in 0..3 {
            let start = std::time::Instant::now();
            let mut machine = esp0::machine::Machine::new(16 << 20).unwrap();
            let created = start.elapsed();
            let quick = esp0::host::doctor::quick(&mut machine);
            let done = start.elapsed();
            println!("{created:?} {:?} {quick:?}", done - created);
            let again = start.elapsed();
            let quick = esp0::host::doctor::quick(&mut machine);
            println!("again {:?} {quick:?}", start.elapsed() - again);
            if let Err(e) = quick.usable { println!("{e}"); }
            let mut bytes = vec![0; 16<<20];
            machine.memory.read(0, &mut bytes);
            assert!(bytes.iter().all(|b| *b == 0));
        }
        return;
    }
    match esp0::host::doctor::examine() {
        Ok(report) => print!("{}", report.render(std::env::args().any(|a| a == "colour"))),
        Err(problem) => println!("{problem}"),
    }
}

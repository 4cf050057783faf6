//! gdb calls while the guest is gone back with.

use super::*;
use std::fmt::Write as _;
use std::thread::sleep;

/// gdb's side of the line.
struct Line(TcpStream);

impl Line {
    fn to(debugged: &Debugged) -> Self {
        let socket = TcpStream::connect(&debugged.address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_secs(100))).expect("it is a socket");
        Line(socket)
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0_u8, |sum, byte| sum.wrapping_add(byte));
        write!(self.0, "${packet}#{sum:02x}").expect("it is read");
    }

    /// The next packet, without its end.
    fn receive(&mut self) -> String {
        let mut next = || {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("it is answered");
            char::from(byte[0])
        };
        while next() != '$' {}
        let packet = std::iter::from_fn(|| Some(next()).filter(|letter| *letter != '#')).collect();
        next();
        next();
        self.0.write_all(b"+").expect("it is read");
        packet
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.receive()
    }

    /// What `monitor` says, without the dots for which a command takes long.
    fn monitor(&mut self, command: &str) -> String {
        let digits = command.bytes().fold("qRcmd,".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        self.send(&digits);
        let mut said = String::new();
        loop {
            let packet = self.receive();
            let Some(digits) = packet.strip_prefix('O').filter(|rest| *rest != "K") else {
                return said.trim_start_matches('.').to_owned();
            };
            for at in (0..digits.len()).step_by(2) {
                let byte = u8::from_str_radix(&digits[at..at + 2], 16).expect("they are digits");
                said.push(char::from(byte));
            }
        }
    }

    fn place(&mut self) -> String {
        self.monitor("status").split(',').next().unwrap_or_default().to_owned()
    }
}

/// Nobody reads the first words of the kernel's file, and it takes long to find that out.
#[test]
fn a_search_backwards_that_is_called_off_leaves_the_guest_where_it_was() {
    let Some(kernel) = Kernel::of(case("stack_overflow")) else { return };
    let debugged = Debugged::start(&[&kernel.path.display().to_string()]);
    let mut line = Line::to(&debugged);
    line.monitor("stop-on entry 0x80");
    for _ in 0..12 {
        line.ask("c");
    }
    line.monitor("stop-on nothing");
    for _ in 0..3 {
        assert_eq!(line.ask("bs"), "S05");
    }
    let place = line.place();
    assert!(place.starts_with('@'), "{place}");
    assert_eq!(line.ask("Z3,100000,4"), "OK");
    line.send("bc");
    sleep(Duration::from_millis(700));
    line.0.write_all(&[3]).expect("it is read");
    assert_eq!(line.receive(), "S02");
    assert_eq!(line.place(), place);
    drop(line);
    debugged.kill();
}

//! Packets at random.

use super::*;

/// Numbers that look random, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// A packet that gdb might send, or nearly.
fn packet(numbers: &mut Numbers) -> Vec<u8> {
    const BEGINNINGS: [&str; 32] = [
        "?",
        "g",
        "G",
        "m",
        "M",
        "p",
        "P",
        "X",
        "Z0,",
        "Z1,",
        "Z2,",
        "Z3,",
        "z0,",
        "z2,",
        "s",
        "bs",
        "vCont;s",
        "vCont?",
        "vCont;",
        "qSupported",
        "qXfer:features:read:target.xml:",
        "qXfer:memory-map:read::",
        "qRcmd,",
        "qC",
        "qfThreadInfo",
        "H",
        "T",
        "QStartNoAckMode",
        "qAttached",
        "!",
        "vMustReplyEmpty",
        "qSymbol::",
    ];
    const PARTS: [&str; 14] = [
        "100000",
        ",",
        "4",
        ":",
        ";",
        "ffffffff",
        "0",
        "#",
        "00",
        "2a",
        "6d6f6e69746f72",
        "737461747573",
        "-1",
        "%",
    ];
    let mut body = numbers.one_of(&BEGINNINGS).as_bytes().to_vec();
    for _ in 0..numbers.below(6) {
        body.extend_from_slice(numbers.one_of(&PARTS).as_bytes());
    }
    if numbers.below(4) == 0 && !body.is_empty() {
        let at = numbers.below(body.len());
        body[at] = numbers.below(256) as u8;
    }
    // What ends the guest, or lets it go, is not to be said.
    if matches!(body.first(), Some(b'k' | b'D' | b'R')) || body.starts_with(b"vKill") {
        return b"+".to_vec();
    }
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let sum = if numbers.below(8) == 0 { sum ^ 0x55 } else { sum };
    let mut packet = vec![b'$'];
    packet.extend(body);
    packet.extend(format!("#{sum:02x}").bytes());
    if numbers.below(3) == 0 {
        packet.push(b'+');
    }
    packet
}

#[test]
fn packets_at_random_lose_neither_the_run_nor_the_next_gdb() {
    let Some((_folder, kernel)) = walk() else { return };
    let debugged = Debugged::start(&[&kernel.display().to_string(), "--timeout", "200"]);
    let mut numbers = Numbers(20_261_126);
    let mut sent = 0;
    // A session ends with the first packet that is none.
    for _ in 0..400 {
        if sent > 400 {
            break;
        }
        let mut socket = TcpStream::connect(&debugged.address).expect("it listens");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("it is a socket");
        for _ in 0..40 {
            if socket.write_all(&packet(&mut numbers)).is_err() {
                break;
            }
            sent += 1;
            let mut answer = [0; 4096];
            let _ = socket.read(&mut answer);
        }
        // A guest that runs is called back.
        let _ = socket.write_all(&[3]);
    }
    assert!(sent > 200, "only {sent} packets were taken");
    let Some(text) = debugged.gdb(&kernel, "monitor goto start\ninfo registers eip\ndetach\n")
    else {
        return debugged.kill();
    };
    assert!(text.contains("eip "), "{text}");
    let (status, out, errors) = debugged.end();
    assert!(status.is_some() && out.contains("verdict: "), "{out}{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

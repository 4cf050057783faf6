//! Messages.

use crate::Case;
use crate::tools::{child, report, spin, until_state};
use abi::call::Error;
use abi::layout::{KERNEL, PAGE, PROGRAM};
use abi::task::{CHILD_ENDED, MESSAGE};
use user::call;
use user::message::{self, KERNEL as FROM_KERNEL, Message};

pub(crate) const CASES: &[Case] = &[
    ("message_and_answer", message_and_answer),
    ("messages_in_quantity", messages_in_quantity),
    ("messages_with_bytes", messages_with_bytes),
    ("messages_that_are_too_long", messages_that_are_too_long),
    ("messages_from_bad_addresses", messages_from_bad_addresses),
    ("messages_from_many", messages_from_many),
    ("message_from_one_task_only", message_from_one_task_only),
    ("message_while_the_receiver_is_busy", message_while_the_receiver_is_busy),
    ("partner_ends_before_it_answers", partner_ends_before_it_answers),
    ("partner_ends_before_it_receives", partner_ends_before_it_receives),
    ("partner_is_killed_while_waited_for", partner_is_killed_while_waited_for),
    ("partner_does_not_exist", partner_does_not_exist),
    ("answer_to_nobody", answer_to_nobody),
    ("notifications_add_up", notifications_add_up),
    ("notification_that_a_child_has_ended", notification_that_a_child_has_ended),
];

/// A server that adds one to the words, until it is told 0.
fn adder() -> u32 {
    child(|| {
        let mut last = message::receive(0);
        while let Ok((from, Message { label, word, third, length })) = last {
            if length > 0 {
                return 1;
            }
            let answer = Message::short(label, word.wrapping_add(1), third.wrapping_add(1));
            last = match label {
                0 => return i32::from(message::reply(from, answer).is_err()),
                _ => message::reply_receive(from, answer),
            };
        }
        2
    })
}

fn ended_well(task: u32) -> bool {
    call::wait(task).is_ok_and(|report| report.how == 0 && report.status == 0)
}

fn message_and_answer() -> bool {
    let server = adder();
    let answer = message::call(server, Message::short(7, 10, 20));
    check!(answer == Ok(Message::short(7, 11, 21)), "{answer:?}");
    check!(message::call(server, Message::short(0, 0, u32::MAX)) == Ok(Message::short(0, 1, 0)));
    check!(ended_well(server));
    true
}

fn messages_in_quantity() -> bool {
    let server = adder();
    for number in 1..=60 {
        let answer = message::call(server, Message::short(number, number, 0));
        check!(answer == Ok(Message::short(number, number + 1, 1)));
    }
    check!(message::call(server, Message::short(0, 0, 0)).is_ok());
    check!(ended_well(server));
    true
}

/// Takes bytes of every length, and sends them back upside down.
fn messages_with_bytes() -> bool {
    let server = child(|| {
        let mut buffer = alloc::vec![0_u8; MESSAGE as usize];
        if message::set_buffer(&mut buffer).is_err() {
            return 1;
        }
        let mut last = message::receive(0);
        while let Ok((from, message)) = last {
            let bytes = &mut buffer[..message.length as usize];
            bytes.reverse();
            last = match message.label {
                0 => return i32::from(message::reply(from, Message::default()).is_err()),
                label => message::reply_receive(from, Message::long(label, 0, bytes)),
            };
        }
        2
    });
    let mut answer = alloc::vec![0_u8; MESSAGE as usize + 64];
    for length in [1, 3, 4, 64, 255, PAGE as usize] {
        for shift in [0, 33] {
            let mut bytes = alloc::vec![shift as u8; length];
            bytes.iter_mut().take(40).zip(1..).for_each(|(byte, n)| *byte = n * 5);
            let buffer = &mut answer[shift..shift + length];
            buffer.fill(0);
            let got = message::call_for(server, Message::long(1, 0, &bytes), buffer);
            check!(got.is_ok_and(|(_, count)| count == length), "{length} bytes: {got:?}");
            bytes.reverse();
            check!(buffer == bytes);
        }
    }
    check!(message::call(server, Message::short(0, 0, 0)).is_ok());
    check!(ended_well(server));
    true
}

/// Who sends too much is told so, and the receiver hears nothing of it.
fn messages_that_are_too_long() -> bool {
    let server = child(|| {
        let mut buffer = [0; 16];
        let _ = message::set_buffer(&mut buffer);
        match message::receive(0) {
            Ok((from, Message { label: 9, length: 16, .. })) => {
                i32::from(message::reply(from, Message::default()).is_err())
            }
            _ => 1,
        }
    });
    let bytes = alloc::vec![1_u8; 2 * MESSAGE as usize];
    for length in [17, MESSAGE as usize, MESSAGE as usize + 1, 2 * MESSAGE as usize] {
        let result = message::call(server, Message::long(1, 0, &bytes[..length]));
        check!(result == Err(Error::TooLong), "{length}: {result:?}");
    }
    check!(message::call(server, Message::long(9, 0, &bytes[..16])).is_ok());
    check!(ended_well(server));
    true
}

fn messages_from_bad_addresses() -> bool {
    let server = child(|| {
        let mut buffer = [0; 64];
        let _ = message::set_buffer(&mut buffer);
        match message::receive(0) {
            Ok((from, Message { label: 9, .. })) => {
                i32::from(message::reply(from, Message::default()).is_err())
            }
            _ => 1,
        }
    });
    for state in [b"M", b"Z"] {
        // The second time the server is not yet receiving when it is sent to.
        for address in [0, 4, PROGRAM - 8, KERNEL, KERNEL - 8, u32::MAX - 8] {
            let bad = Message { label: 1, word: 0, third: address, length: 32 };
            if state == b"M" {
                check!(until_state(server, state));
                check!(message::call(server, bad) == Err(Error::BadAddress), "{address:x}");
            }
        }
    }
    check!(message::call(server, Message::short(9, 0, 0)).is_ok());
    check!(ended_well(server));
    // A buffer that the receiver may not write to is the receiver's mistake; the sender hears of it.
    let server = child(|| {
        // SAFETY: the kernel will refuse to write there.
        unsafe { call::raw(abi::call::Call::Buffer as u32, [PROGRAM, 64, 0, 0, 0]) };
        let _ = message::receive(0);
        0
    });
    check!(until_state(server, b"M"));
    check!(message::call(server, Message::long(1, 0, &[1; 8])) == Err(Error::BadAddress));
    check!(message::notify(server, 1) == Ok(()) && ended_well(server));
    true
}

fn messages_from_many() -> bool {
    const CLIENTS: u32 = 6;
    const EACH: u32 = 4;
    let server = call::getpid();
    for client in 0..CLIENTS {
        child(|| {
            for number in 0..EACH {
                let answer = message::call(server, Message::short(1, client, number));
                if answer != Ok(Message::short(2, client + 1, number)) {
                    return 1;
                }
            }
            0
        });
    }
    let mut sum = 0;
    let mut served = 0;
    while served < CLIENTS * EACH {
        let Ok((from, message)) = message::receive(0) else { return false };
        if from == FROM_KERNEL {
            continue; // a child has ended
        }
        sum += message.word;
        served += 1;
        let answer = Message::short(2, message.word + 1, message.third);
        check!(message::reply(from, answer) == Ok(()));
    }
    check!(sum == EACH * CLIENTS * (CLIENTS - 1) / 2);
    for _ in 0..CLIENTS {
        check!(call::wait(0).is_ok_and(|report| report.status == 0));
    }
    true
}

fn message_from_one_task_only() -> bool {
    let server = call::getpid();
    let client = |label| {
        child(move || i32::from(message::call(server, Message::short(label, 0, 0)).is_err()))
    };
    let (first, second) = (client(1), client(2));
    check!(until_state(first, b"C") && until_state(second, b"C"));
    for (task, label) in [(second, 2), (first, 1)] {
        let received = message::receive(task);
        check!(received == Ok((task, Message::short(label, 0, 0))), "{received:?}");
        check!(message::reply(task, Message::default()) == Ok(()));
        check!(ended_well(task));
    }
    true
}

fn message_while_the_receiver_is_busy() -> bool {
    let server = child(|| {
        let _ = call::sleep(3);
        let Ok((from, message)) = message::receive(0) else { return 1 };
        spin(1000);
        i32::from(message::reply(from, message).is_err())
    });
    let message = Message::short(5, 6, 7);
    check!(message::call(server, message) == Ok(message));
    check!(ended_well(server));
    true
}

fn partner_ends_before_it_answers() -> bool {
    let server = child(|| i32::from(message::receive(0).is_err()));
    check!(message::call(server, Message::default()) == Err(Error::PartnerEnded));
    check!(ended_well(server));
    true
}

fn partner_ends_before_it_receives() -> bool {
    let server = child(|| {
        let _ = call::sleep(2);
        0
    });
    check!(message::call(server, Message::default()) == Err(Error::PartnerEnded));
    // Now it is there, but no more than its record.
    check!(message::call(server, Message::default()) == Err(Error::PartnerEnded));
    check!(message::receive(server) == Err(Error::PartnerEnded));
    check!(message::notify(server, 1) == Err(Error::PartnerEnded));
    check!(ended_well(server));
    true
}

fn partner_is_killed_while_waited_for() -> bool {
    let server = child(|| {
        loop {
            let _ = message::receive(0);
        }
    });
    let client = child(|| match message::call(server, Message::default()) {
        Err(Error::PartnerEnded) => 0,
        _ => 1,
    });
    let other = child(|| match message::receive(server) {
        Err(Error::PartnerEnded) => 0,
        _ => 1,
    });
    check!(until_state(client, b"C") && until_state(other, b"M"));
    check!(call::kill(server) == Ok(()));
    check!(ended_well(client) && ended_well(other));
    check!(call::wait(server).is_ok());
    true
}

fn partner_does_not_exist() -> bool {
    for task in [0, 0xFFFF, u32::MAX, 127] {
        check!(message::call(task, Message::default()) == Err(Error::NoSuchTask), "{task}");
        check!(message::notify(task, 1) == Err(Error::NoSuchTask));
        check!(message::reply(task, Message::default()) == Err(Error::NoSuchTask));
    }
    check!(message::receive(0xFFFF) == Err(Error::NoSuchTask));
    check!(message::call(call::getpid(), Message::default()) == Err(Error::BadArgument));
    true
}

fn answer_to_nobody() -> bool {
    let other = child(|| i32::from(message::receive(0).is_err()));
    check!(until_state(other, b"M"));
    check!(message::reply(other, Message::default()) == Err(Error::BadArgument));
    check!(message::notify(other, 1) == Ok(()) && ended_well(other));
    true
}

fn notifications_add_up() -> bool {
    let me = call::getpid();
    check!(message::notify(me, 1) == Ok(()) && message::notify(me, 4) == Ok(()));
    check!(message::receive(0) == Ok((FROM_KERNEL, Message::short(5, 0, 0))));
    let sender = child(|| i32::from(message::notify(me, 8).is_err()));
    check!(
        message::receive(0)
            .is_ok_and(|(from, message)| { from == FROM_KERNEL && message.label & 8 != 0 })
    );
    check!(ended_well(sender));
    true
}

fn notification_that_a_child_has_ended() -> bool {
    let child = child(|| 0);
    let received = message::receive(0);
    check!(received == Ok((FROM_KERNEL, Message::short(CHILD_ENDED, 0, 0))), "{received:?}");
    check!(ended_well(child));
    check!(report(|| 0).status == 0);
    true
}

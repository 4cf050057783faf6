//! What is claimed of kernel stacks is so, as far as it is exercised, and is not so of the twin in
//! which it is false on purpose.

use esp0::claims::{
    CLAIMS, Claim, Event, Host, Moment, Recordings, Row, Status, claim, judge, run, scenario,
};
use esp0::entry::Entry;
use esp0::probe::Choice;
use std::time::Duration;

/// What no scenario exercises yet, and why.
const OPEN: [(&str, &str, &str); 2] = [
    ("H8", "micro", "ring 3 did not try"),
    ("H10", "micro", "no repeated string instruction was interrupted"),
];

fn host(probes: Choice) -> Host {
    let host = tests::host();
    Host {
        backend: host.backend.clone(),
        breakpoints: host.breakpoints,
        probes,
        timeout: Duration::from_secs(300),
    }
}

fn rows(claims: &[&'static Claim], broken: bool, probes: Choice) -> Vec<Row> {
    let host = host(probes);
    let mut recordings = Recordings::new(&host);
    let judge = |claim: &&'static Claim| {
        judge(claim, broken, None, &mut recordings, &|_| {}).unwrap_or_else(|why| panic!("{why}"))
    };
    claims.iter().flat_map(judge).collect()
}

#[track_caller]
fn assert_proved(rows: &[Row]) {
    for row in rows {
        let place = format!("{} on {}: {}", row.claim.id, row.kernel, row.evidence);
        match OPEN.iter().find(|(id, kernel, _)| (*id, *kernel) == (row.claim.id, row.kernel)) {
            None => assert_eq!(row.status, Status::Proved, "{place}"),
            Some((.., reason)) => {
                assert_eq!(row.status, Status::Open, "{place}");
                assert!(row.evidence.contains(reason), "{place}");
            }
        }
    }
}

#[test]
fn every_claim_is_proved_or_open_for_a_known_reason() {
    let all: Vec<&Claim> = CLAIMS.iter().collect();
    let rows = rows(&all, false, Choice::Auto);
    assert!(rows.len() >= CLAIMS.len());
    assert_proved(&rows);
}

#[test]
fn every_claim_is_refuted_by_its_twin() {
    let all: Vec<&Claim> = CLAIMS.iter().collect();
    for row in rows(&all, true, Choice::Auto) {
        let place = format!("{} on {}: {}", row.claim.id, row.kernel, row.evidence);
        let open = OPEN.iter().any(|(id, kernel, _)| (*id, *kernel) == (row.claim.id, row.kernel));
        let expected = if open { Status::Open } else { Status::Refuted };
        assert_eq!(row.status, expected, "{place}");
        assert!(row.broken.is_some(), "{place}");
    }
}

#[test]
fn what_is_proved_does_not_depend_on_the_kind_of_probe() {
    let some: Vec<&Claim> = ["H1", "H4", "H9", "L2", "L12"].into_iter().filter_map(claim).collect();
    for probes in [Choice::Patch, Choice::Breakpoint] {
        assert_proved(&rows(&some, false, probes));
    }
}

#[test]
fn following_the_kernel_by_instruction_changes_nothing_that_it_does() {
    let host = host(Choice::Auto);
    let trace = |name| -> Vec<String> {
        let scenario = scenario(name).expect("there is such a scenario");
        let recording = run(scenario, None, &host).unwrap_or_else(|why| panic!("{why}"));
        let event = |moment: &Moment| match &moment.event {
            // The state before is seen more often when the kernel is followed.
            Event::Entry(entry) => format!("{:?}", Entry { before: None, ..(**entry).clone() }),
            other => format!("{other:?}"),
        };
        recording.moments.iter().map(event).collect()
    };
    let (free, followed) = (trace("classic"), trace("classic followed"));
    for (free, followed) in free.iter().zip(&followed) {
        assert_eq!(free, followed);
    }
    assert_eq!(free.len(), followed.len());
}

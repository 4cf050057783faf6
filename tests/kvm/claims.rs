//! What is claimed of kernel stacks is proved by what the guests show, and refuted by the twins in which
//! it is false on purpose.

use esp0::claims::{
    CLAIMS, Claim, ClaimsRow, Doubt, Happening, Moment, Observations, Status, Testbed, Topic,
    Twins, claim, judge, run, scenario,
};
use esp0::entry::Entry;
use esp0::machine::StopRequest;
use esp0::probe::Choice;
use std::path::Path;
use std::time::Duration;

fn host(probes: Choice) -> Testbed {
    let host = tests::host();
    Testbed {
        backend: host.backend.clone(),
        breakpoints: host.breakpoints,
        probes,
        timeout: Duration::from_secs(300),
        twins: Twins::default(),
        stop: StopRequest::default(),
    }
}

fn rows(claims: &[&'static Claim], broken: bool, probes: Choice) -> Vec<ClaimsRow> {
    let mut host = host(probes);
    if broken {
        host.twins =
            Twins::read(Path::new(twins::FOLDER), claims).unwrap_or_else(|why| panic!("{why}"));
    }
    let mut observations = Observations::new(&host);
    let judge = |claim: &&'static Claim| {
        judge(claim, broken, None, &mut observations, &|_| {}).unwrap_or_else(|why| panic!("{why}"))
    };
    claims.iter().flat_map(judge).collect()
}

#[track_caller]
fn assert_all(rows: &[ClaimsRow], expected: Status) {
    for row in rows {
        let place = format!("{} on {}: {}", row.claim.id, row.kernel, row.evidence);
        assert_eq!(row.status, expected, "{place}");
        assert_eq!(row.broken.is_some(), expected == Status::Refuted, "{place}");
    }
}

/// The claims, for two tests side by side: scenarios that are followed take their time.
fn about(subject: Topic) -> Vec<&'static Claim> {
    CLAIMS.iter().filter(|claim| claim.subject == subject).collect()
}

#[test]
fn what_is_claimed_of_the_processor_is_proved_on_both_kernels() {
    let rows = rows(&about(Topic::Hardware), false, Choice::Auto);
    assert_all(&rows, Status::Proved);
    assert_eq!(rows.len(), 9 * 2 + 1);
}

#[test]
fn what_is_claimed_of_every_kernel_is_proved() {
    let rows = rows(&about(Topic::Kernel), false, Choice::Auto);
    assert_all(&rows, Status::Proved);
    assert_eq!(rows.iter().filter(|row| row.kernel == "micro").count(), 15);
    assert_eq!(rows.iter().filter(|row| row.kernel == "classic").count(), 7);
}

#[test]
fn what_is_claimed_of_linux_0_12_is_proved_on_classic() {
    let rows = rows(&about(Topic::Linux), false, Choice::Auto);
    assert_all(&rows, Status::Proved);
    assert_eq!(rows.len(), 12);
}

#[test]
fn what_is_claimed_of_the_processor_is_refuted_by_its_twins() {
    assert_all(&rows(&about(Topic::Hardware), true, Choice::Auto), Status::Refuted);
}

#[test]
fn some_claims_of_each_kernel_are_refuted_by_their_twins() {
    let some: Vec<&Claim> = ["K2", "K6", "L3", "L10"].into_iter().filter_map(claim).collect();
    let rows = rows(&some, true, Choice::Auto);
    assert_all(&rows, Status::Refuted);
    for claim in ["K2", "K6", "L3", "L10"] {
        assert!(rows.iter().any(|row| row.claim.id == claim), "{claim} was not tried");
    }
}

/// All that `scripts/soak` runs.
mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: scripts/soak"]
    fn what_is_claimed_of_every_kernel_is_refuted_by_its_twins() {
        assert_all(&rows(&about(Topic::Kernel), true, Choice::Auto), Status::Refuted);
    }

    #[test]
    #[ignore = "takes minutes: scripts/soak"]
    fn what_is_claimed_of_linux_0_12_is_refuted_by_its_twins() {
        assert_all(&rows(&about(Topic::Linux), true, Choice::Auto), Status::Refuted);
    }
}

#[test]
fn a_claim_that_is_not_exercised_is_open() {
    // Nobody runs long string instructions in the default workload.
    let host = host(Choice::Auto);
    let observation = run(scenario("micro").expect("it exists"), None, &host).expect("it runs");
    let claim = claim("H10").expect("it exists");
    assert!(matches!((claim.judge)(&observation), Err(Doubt::Open(_))));
}

#[test]
fn what_is_proved_does_not_depend_on_the_kind_of_probe() {
    let some: Vec<&Claim> =
        ["H1", "H4", "H9", "K1", "K3", "K9", "L2", "L12"].into_iter().filter_map(claim).collect();
    for probes in [Choice::Patch, Choice::Breakpoint] {
        assert_all(&rows(&some, false, probes), Status::Proved);
    }
}

#[test]
fn following_the_kernel_by_instruction_changes_nothing_that_it_does() {
    let host = host(Choice::Auto);
    let trace = |name| -> Vec<String> {
        let scenario = scenario(name).expect("there is such a scenario");
        let observation = run(scenario, None, &host).unwrap_or_else(|why| panic!("{why}"));
        let event = |moment: &Moment| match &moment.event {
            // The state before is seen more often when the kernel is followed.
            Happening::Entry(entry) => format!("{:?}", Entry { before: None, ..(**entry).clone() }),
            other => format!("{other:?}"),
        };
        observation.moments.iter().map(event).collect()
    };
    let (free, followed) = (trace("classic"), trace("classic followed"));
    for (free, followed) in free.iter().zip(&followed) {
        assert_eq!(free, followed);
    }
    assert_eq!(free.len(), followed.len());
}

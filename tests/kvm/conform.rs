//! The KVM below is what the model of the architecture says, but for deviations that have a name.

use esp0::conform::{self, Case, Plan, Summary, cases};
use esp0::host::{Authority, Backend, DEVIATIONS};
use esp0::machine::StopRequest;
use ia32::Branch;
use tests::{esp0, host};

const CORPUS: &str = include_str!("../corpus/paths.txt");

/// Decisions of the model that no case can take, and why.
const UNREACHED: [(Branch, &str); 4] = [
    (Branch::InstructionBreakpoint, "debug registers are no part of a case"),
    (
        Branch::RepeatInterrupted,
        "an injected interrupt does not tell that it is between iterations",
    ),
    (Branch::TaskOldTooSmall, "the manuals do not decide what follows, so such cases are not run"),
    (Branch::ChainEndless, "the guest would not stop"),
];

#[track_caller]
fn assert_no_mismatch(summary: &Summary) {
    let list: String = summary
        .found
        .iter()
        .map(|found| format!("{}\n{}{}\n", found.case, found.mismatch, found.explanation))
        .collect();
    assert_eq!(summary.mismatches, 0, "{list}");
}

#[test]
fn the_corpus_shows_named_deviations_only_and_takes_the_models_decisions() {
    let cases = cases(CORPUS).expect("a corpus");
    let summary = conform::replay(&cases, &host().backend, &StopRequest::default()).expect("KVM");
    assert_no_mismatch(&summary);
    assert_eq!(summary.compared, cases.len() as u64, "not run: {:?}", summary.unfit);
    let missing: Vec<Branch> = summary.branches_missing().collect();
    let unexplained: Vec<&Branch> = missing
        .iter()
        .filter(|branch| !UNREACHED.iter().any(|(unreached, _)| unreached == *branch))
        .collect();
    assert!(unexplained.is_empty(), "never taken: {unexplained:?}");
    let taken = Branch::ALL.len() - missing.len();
    assert!(taken * 100 >= Branch::ALL.len() * 95, "{taken} of {}", Branch::ALL.len());
}

#[test]
fn each_named_deviation_shows_in_its_smallest_case() {
    let backend = &host().backend;
    for deviation in DEVIATIONS.iter().filter(|deviation| deviation.applies_to(backend)) {
        let Some(text) = deviation.case else { continue };
        let case: Case = text.parse().expect(deviation.name);
        let summary = conform::replay(&[case], backend, &StopRequest::default()).expect("KVM");
        assert_no_mismatch(&summary);
        assert!(
            summary.deviations.contains_key(deviation.name),
            "{} is out of date: {text} shows {:?}, not run: {:?}",
            deviation.name,
            summary.deviations.keys(),
            summary.unfit
        );
    }
}

fn plan(shard: u64, shards: u64) -> Plan {
    Plan { cases: 300, seed: 11, shard, shards, jobs: 1 }
}

fn run(plan: &Plan, backend: &Backend) -> Summary {
    let summary = conform::run(plan, backend, &StopRequest::default());
    assert!(summary.failed.is_none(), "{:?}", summary.failed);
    summary
}

#[test]
fn random_cases_repeat_and_shards_add_up() {
    let backend = &host().backend;
    let whole = run(&plan(0, 1), backend);
    assert_no_mismatch(&whole);
    let again = run(&Plan { jobs: 2, ..plan(0, 1) }, backend);
    let parts = [run(&plan(0, 2), backend), run(&plan(1, 2), backend)];
    let counts = |summary: &Summary| -> Vec<(&str, u64)> {
        summary.deviations.iter().map(|(name, known)| (*name, known.count)).collect()
    };
    assert_eq!((again.compared, counts(&again)), (whole.compared, counts(&whole)));
    assert_eq!(parts[0].compared + parts[1].compared, whole.compared);
    assert!(parts[0].compared > 50 && parts[1].compared > 50);
}

#[test]
fn what_has_no_name_is_a_mismatch_and_its_shrunk_case_shows_it() {
    let known = &host().backend;
    if known.authority != Authority::Tcg {
        // Only an emulated processor is known to be wrong.
        return;
    }
    // No deviation is known of such a backend.
    let nameless = Backend { version: None, ..known.clone() };
    let summary = run(&Plan { cases: 100, ..plan(0, 1) }, &nameless);
    assert!(summary.mismatches > 5, "{}", summary.mismatches);
    for found in &summary.found {
        let text = found.case.to_string();
        let case: Case = text.parse().expect("a case");
        let shown =
            conform::replay(std::slice::from_ref(&case), &nameless, &StopRequest::default())
                .expect("KVM");
        assert_eq!(shown.mismatches, 1, "{text}");
        assert_no_mismatch(&conform::replay(&[case], known, &StopRequest::default()).expect("KVM"));
    }
}

#[test]
fn the_program_ends_with_the_status_that_its_help_tells() {
    let right = esp0(&["conform", "--cases", "100", "--seed", "0x2a"]);
    right.assert_status(0);
    assert!(right.stdout.contains("0 mismatches of 0 kinds"), "{}", right.stdout);
    assert_eq!(right.stderr, "");
    esp0(&["conform", "--shard", "3/2"]).assert_status(2);
    esp0(&["conform", "--replay", "/no/such/file"]).assert_status(2);
    esp0(&["conform", "--replay", "/proc/version"]).assert_status(2);
}

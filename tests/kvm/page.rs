//! The report page is written from within the sandbox, and made again of the trace. What a browser makes of it is tested
//! by `scripts/page-test`.

use boon::{Compiler, Schemas};
use std::fs;
use tests::{compiled, esp0};

/// The data of a page.
fn data(page: &str) -> serde_json::Value {
    let text = fs::read_to_string(page).expect("there is a page");
    let (_, data) = text.split_once("id=\"data\">").expect("it has data");
    let data = data.split("</script>").next().expect("they end");
    serde_json::from_str(data).expect("they are JSON")
}

#[test]
fn a_run_and_its_trace_make_the_same_page() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (page, trace, again) = (path("run.html"), path("run.jsonl"), path("again.html"));
    let plant = ["--guest", "broken", "--cmdline", "plant=esp0_not_updated"];
    esp0(&[&plant[..], &["--report", &page, "--trace", &trace]].concat()).assert_status(1);
    // Its lines are as the page about traces says, those for the page too.
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/trace.schema.json");
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    let schema = compiler.compile(schema, &mut schemas).expect("the schema is one");
    let text = fs::read_to_string(&trace).expect("there is a trace");
    for line in text.lines() {
        let value = serde_json::from_str(line).expect("a line is JSON");
        if let Err(error) = schemas.validate(&value, schema) {
            panic!("{error}\n{line}");
        }
    }
    for kind in ["detail", "code", "names"] {
        assert!(text.contains(&format!("{{\"type\":\"{kind}\"")), "no {kind}");
    }
    esp0(&["trace", "report", &trace, "-o", &again]).assert_status(0);
    let (one, other) = (data(&page), data(&again));
    for part in ["rows", "stops", "entries", "returns", "details", "returnDetails", "places"] {
        assert_eq!(one[part], other[part], "{part}");
    }
    let cause = &one["causes"]["list"][0];
    assert_eq!(cause["rule"], "suspended_stack");
    // What is wrong is the switch before, and not what ran when it showed.
    let place = cause["where"].as_array().and_then(|places| places.last()).expect("a place");
    let text = place["code"].to_string();
    assert!(text.contains("iret"), "{place}");
}

/// `micro` has a no-op before each IRET, where a stop is cheap: it is the IRET that returns.
#[test]
fn a_return_stands_at_its_iret_and_not_at_the_no_op_before_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (page, trace) = (path("run.html"), path("run.jsonl"));
    for guest in [&["--guest", "micro"][..], &["--guest", "broken", "--exact"]] {
        esp0(&[guest, &["--report", &page, "--trace", &trace]].concat()).assert_status(0);
        let text = fs::read_to_string(&trace).expect("there is a trace");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
        let (returns, codes) = (of("return"), of("code"));
        assert!(!returns.is_empty());
        for one in returns {
            let shown = codes.iter().filter(|code| code["at"] == one["at"]);
            let row = shown.flat_map(|code| code["code"].as_array().expect("rows"));
            let mut marked = row.filter(|row| row[0] == one["at"]);
            assert!(marked.any(|row| row[2] == "iretd"), "{guest:?}: {one}");
        }
    }
}

/// What is shown of a finding and of the end does not need a recorder: a trace alone has it, for the page and for
/// `trace show`.
#[test]
fn a_trace_alone_has_the_findings_and_the_end_of_its_run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (page, trace, again) = (path("run.html"), path("run.jsonl"), path("again.html"));
    let broken = ["--guest", "broken", "--cmdline", "plant=frame_esp"].map(str::to_owned);
    let mut cases = vec![("frame_esp", broken.to_vec(), 1, "writer")];
    for (name, status, found) in [
        ("INTO_A_TABLE", 1, "writer"),
        ("RETURN_OVERWRITTEN", 4, "way"),
        ("DIRECTORY_OVERWRITTEN", 4, "way"),
    ] {
        let Some(kernel) = compiled(name) else { continue };
        fs::write(path(name), kernel).expect("a file can be written");
        cases.push((name, vec!["run".into(), path(name)], status, found));
    }
    for (name, kernel, status, found) in cases {
        let run = |output: &str, file: &str| {
            let mut arguments: Vec<&str> = kernel.iter().map(String::as_str).collect();
            arguments.extend(["--clock", "deterministic", "--timeout", "5", output, file]);
            let output = esp0(&arguments);
            output.assert_status(status);
            output.stdout
        };
        run("--report", &page);
        let printed = run("--trace", &trace);
        esp0(&["trace", "report", &trace, "-o", &again]).assert_status(0);
        let (one, other) = (data(&page), data(&again));
        for part in ["causes", "end", "last", "summary", "verdict"] {
            assert_eq!(one[part], other[part], "{name}: {part}");
        }
        let cause = &one["causes"]["list"][0];
        assert!(!cause[found].is_null(), "{name}: no {found} in {cause}");
        // Where the directory is lost, the code is mapped no more.
        let has_code = cause["where"].as_array().is_some_and(|places| !places.is_empty());
        assert!(has_code || name == "DIRECTORY_OVERWRITTEN", "{name}: no code in {cause}");
        assert_eq!(one["last"].is_null(), status == 1, "{name}: {}", one["last"]);
        let shown = esp0(&["trace", "show", &trace]);
        shown.assert_status(0);
        assert_eq!(shown.stdout, printed, "{name}");
    }
}

#[test]
fn a_run_on_the_real_clock_says_on_its_page_how_the_writer_is_found() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let page = folder.path().join("run.html").to_str().expect("text").to_owned();
    let real = ["--clock", "real", "--report", &page];
    let overwritten = ["--guest", "broken", "--cmdline", "plant=frame_cs", "--quiet"];
    esp0(&[&overwritten[..], &real].concat()).assert_status(1);
    let data = data(&page);
    let causes = data["causes"]["list"].as_array().expect("causes");
    let writers: Vec<&str> = causes.iter().filter_map(|cause| cause["writer"].as_str()).collect();
    assert!(writers.iter().any(|text| text.contains("--clock deterministic")), "{causes:?}");
}

#[test]
fn claims_have_a_page_of_their_own_and_stand_on_that_of_a_trace() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (page, table, trace) = (path("claims.html"), path("claims.json"), path("run.jsonl"));
    esp0(&["claims", "L2", "--json", &table, "--report", &page]).assert_status(0);
    assert_eq!(data(&page)["claims"]["claims"][0]["id"], "L2");
    esp0(&["--guest", "broken", "--quiet", "--trace", &trace]).assert_status(0);
    esp0(&["trace", "report", &trace, "--claims", &table, "-o", &page]).assert_status(0);
    assert_eq!(data(&page)["claims"]["claims"][0]["status"], "proved");
    let wrong = esp0(&["trace", "report", &trace, "--claims", &trace, "-o", &page]);
    wrong.assert_status(2);
    assert!(wrong.stderr.contains("it is no table of claims"), "{}", wrong.stderr);
}

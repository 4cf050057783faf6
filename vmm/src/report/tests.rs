//! Pages of traces that are made by hand. What a browser makes of a page is tested by `scripts/page-test`.

use super::read;
use serde_json::{Value, json};

const HEADER: &str = r#"{"type":"header","format":"esp0-trace","version":1,"authority":"tcg","backend":"b","clock":"real","kernel":"/k/kernel.elf","command_line":"","memory":16777216}"#;

fn frame(address: u32, eip: &str) -> Value {
    json!({
        "address": format!("{address:08x}"), "ss": "00000023", "esp": "00105000",
        "eflags": "00000202", "cs": "0000001b", "eip": eip,
    })
}

fn entry(sequence: u64, address: u32) -> String {
    json!({
        "type": "entry", "sequence": sequence, "time": sequence * 10, "task": 1, "vector": "80",
        "from_ring": 3, "to_ring": 0, "gate": "0010ee0000080216", "esp0": "00107000", "kind": "int",
        "frame": frame(address, "00100250"), "verdict": "ok",
    })
    .to_string()
}

fn leave(after: u64, address: u32) -> String {
    json!({
        "type": "return", "after": after, "time": 0, "task": 1, "from_ring": 0, "to_ring": 3,
        "frame": frame(address, "00100250"), "verdict": "ok",
    })
    .to_string()
}

fn page(lines: &[&str]) -> String {
    let mut out = Vec::new();
    read(lines.join("\n").as_bytes()).unwrap().write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn data(page: &str) -> Value {
    let (_, behind) = page.split_once(r#"id="data">"#).unwrap();
    serde_json::from_str(behind.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_return_is_paired_with_the_entry_whose_frame_it_pops() {
    let (outer, inner) = (entry(1, 0x10_6fec), entry(2, 0x10_6f00));
    let (back, last) = (leave(2, 0x10_6f00), leave(2, 0x10_6fec));
    let data = data(&page(&[HEADER, &outer, &inner, &back, &last]));
    assert_eq!(data["rows"], json!({ "stops": 4, "entries": 2, "returns": 2 }));
    // Stops from 1: the inner entry is the second, and the outer the first.
    assert_eq!(data["returns"]["pops"]["v"], super::columns::base64(&[4, 1]));
}

#[test]
fn one_cause_is_one_finding_and_keeps_its_stops() {
    let found = |sequence: u64| {
        let mut entry: Value = serde_json::from_str(&entry(sequence, 0x10_6fec)).unwrap();
        entry["findings"] = json!([{
            "rule": "suspended_stack", "subject": "kernel", "expected": "this", "got": "that",
            "sentence": format!("entered on the stack of suspended task {sequence}"),
        }]);
        entry.to_string()
    };
    let data = data(&page(&[HEADER, &found(1), &found(2), &found(3)]));
    let causes = data["causes"]["list"].as_array().unwrap();
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0]["count"], 3);
    assert_eq!(causes[0]["stops"], json!([0, 1, 2]));
}

#[test]
fn nothing_of_a_trace_closes_its_element_or_opens_another() {
    let taken = "</script><script>alert(1)</script><!--";
    let header = HEADER.replace("kernel.elf", taken);
    let console = json!({ "type": "console", "after": 0, "text": taken }).to_string();
    let code = json!({ "type": "code", "name": taken, "code": [["0", "cc", taken]] }).to_string();
    let page = page(&[&header, &console, &code]);
    assert_eq!(page.matches("<script").count(), 2, "the data, and the page's own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    assert_eq!(data(&page)["console"][0][1], taken);
}

#[test]
fn the_policy_names_what_the_page_runs_and_nothing_else() {
    let page = page(&[HEADER]);
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(!page.contains("{{"), "a mark was left");
}

#[test]
fn a_trace_that_was_cut_off_is_shown_as_far_as_it_goes() {
    let data = data(&page(&[HEADER, &entry(1, 0x10_6fec), r#"{"type":"entry","sequen"#]));
    assert_eq!(data["rows"]["entries"], 1);
    assert_eq!(data["ending"], "the trace ends in the middle of a line");
}

#[test]
fn what_is_no_trace_is_refused_with_a_sentence() {
    let refused = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    assert!(refused("").contains("there is no header"));
    assert!(refused("ELF\nx\n").contains("line 1 is no line of an esp0 trace"));
    assert!(refused("{\"type\":\"entry\"}\n").contains("a trace begins with its header"));
    let later = HEADER.replace("\"version\":1", "\"version\":99");
    assert!(refused(&later).contains("version 99 of the trace is not known"));
    let broken = format!("{HEADER}\n[1]\n{HEADER}\n");
    assert!(refused(&broken).contains("line 2"));
}

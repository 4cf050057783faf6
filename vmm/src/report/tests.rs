//! Pages of traces that are made by hand. What a browser makes of a page is tested by `scripts/page-test`.

use super::read;
use crate::trace::TraceReader;
use crate::trace::schema::{HeaderRecord, Record, samples};
use serde_json::{Value, json};

/// Registers that nothing here looks at.
const REGISTERS: [(&str, usize); 19] = [
    ("eflags", 8),
    ("ss", 4),
    ("esp", 8),
    ("ss0", 4),
    ("eax", 8),
    ("ecx", 8),
    ("edx", 8),
    ("ebx", 8),
    ("ebp", 8),
    ("esi", 8),
    ("edi", 8),
    ("ds", 4),
    ("es", 4),
    ("fs", 4),
    ("gs", 4),
    ("tr", 4),
    ("cr2", 8),
    ("cr3", 8),
    ("cr0", 8),
];

fn header(kernel: &str) -> String {
    let header = HeaderRecord { kernel: kernel.into(), ..HeaderRecord::new() };
    String::from_utf8(Record::Header(header).to_line()).unwrap().trim_end().to_owned()
}

fn frame(address: u32) -> Value {
    json!({
        "address": format!("{address:08x}"), "ss": "00000023", "esp": "00105000",
        "eflags": "00000202", "cs": "0000001b", "eip": "00100250",
    })
}

fn entry(sequence: u64, address: u32, findings: Value) -> String {
    let mut entry = json!({
        "type": "entry", "sequence": sequence, "time": sequence * 10, "task": 1, "vector": "80",
        "from_ring": 3, "to_ring": 0, "gate": "0010ee0000080216", "esp0": "00107000", "kind": "int",
        "origin": "return", "frame": frame(address), "verdict": "ok", "findings": findings,
    });
    for (name, width) in REGISTERS {
        entry[name] = "0".repeat(width).into();
    }
    entry.to_string()
}

fn leave(after: u64, address: u32) -> String {
    json!({
        "type": "return", "after": after, "time": 0, "task": 1, "from_ring": 0, "to_ring": 3,
        "at": "00100260", "frame": frame(address), "verdict": "ok",
    })
    .to_string()
}

fn page(lines: &[&str]) -> String {
    let text = lines.join("\n") + "\n";
    let mut out = Vec::new();
    read(TraceReader::new(text.as_bytes()).unwrap()).unwrap().write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn data(page: &str) -> Value {
    let (_, behind) = page.split_once(r#"id="data">"#).unwrap();
    serde_json::from_str(behind.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_return_is_paired_with_the_entry_whose_frame_it_pops() {
    let none = || json!([]);
    let (outer, inner) = (entry(1, 0x10_6fec, none()), entry(2, 0x10_6f00, none()));
    let (back, last) = (leave(2, 0x10_6f00), leave(2, 0x10_6fec));
    let data = data(&page(&[&header("k"), &outer, &inner, &back, &last]));
    assert_eq!(data["rows"], json!({ "stops": 4, "entries": 2, "returns": 2 }));
    // Stops from 1: the inner entry is the second, and the outer the first.
    assert_eq!(data["returns"]["pops"]["v"], super::columns::base64(&[4, 1]));
}

#[test]
fn one_cause_is_one_finding_and_keeps_its_stops() {
    let found = |sequence: u64| {
        let finding = json!({
            "rule": "suspended_stack", "subject": "kernel", "place": format!("#{sequence}"),
            "at": "00100216", "expected": "ESP 00107fec", "got": "that",
            "sentence": format!("entered on the stack of suspended task {sequence}"),
            "names": { "00107fec": "stack+20" },
        });
        entry(sequence, 0x10_6fec, json!([finding]))
    };
    let data = data(&page(&[&header("k"), &found(1), &found(2), &found(3)]));
    let causes = data["causes"]["list"].as_array().unwrap();
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0]["count"], 3);
    assert_eq!(causes[0]["stops"], json!([0, 1, 2]));
    assert_eq!(causes[0]["place"], "#1");
    assert_eq!(causes[0]["expected"], "ESP 00107fec (stack+20)");
}

#[test]
fn an_entry_by_a_call_gate_is_a_stop_of_the_page_with_its_words() {
    let crossing = json!({
        "type": "crossing", "after": 0, "time": 0, "task": 1, "way": "call", "from_ring": 3, "to_ring": 0,
        "gate": "0030", "parameters": 0, "cs": "0008", "eip": "00100344", "ss": "0010", "esp": "00106ff0",
        "eflags": "00000202", "words": ["00100286", "0000001b", "00103ffc", "00000023"],
        "verdict": "finding", "findings": [finding("entered by a call gate on the stack of another")],
    });
    let data = data(&page(&[&header("k"), &crossing.to_string(), &end(&[], false)]));
    let cause = &data["causes"]["list"][0];
    assert_eq!((&cause["stops"], &cause["at"]), (&json!([0]), &json!("crossing")));
    assert_eq!(data["rows"], json!({ "stops": 1, "entries": 0, "returns": 0 }));
    assert_eq!(data["crossings"]["0"]["words"][3], "00000023");
}

#[test]
fn what_was_found_at_a_sysenter_is_a_finding_of_the_page_and_a_stop() {
    let sysenter = json!({
        "type": "sysenter", "after": 0, "time": 0, "task": 1, "cs": "0008", "eip": "00100344", "ss": "0010",
        "esp": "00000000", "eflags": "00000002", "verdict": "finding",
        "findings": [finding("SYSENTER has loaded ESP with 0")],
    });
    let data = data(&page(&[&header("k"), &sysenter.to_string(), &end(&[], false)]));
    let cause = &data["causes"]["list"][0];
    assert_eq!(cause["sentence"], "SYSENTER has loaded ESP with 0");
    assert_eq!((&cause["stops"], &cause["at"]), (&json!([0]), &json!("sysenter")));
    assert_eq!(data["rows"], json!({ "stops": 1, "entries": 0, "returns": 0 }));
    assert_eq!(
        (&data["stops"]["kind"], &data["stops"]["from"]),
        (&json!({ "c": 3 }), &json!({ "c": 3 }))
    );
    assert_eq!(data["sysenters"]["0"]["esp"], "00000000");
    assert_eq!(data["unread"], json!({}));
}

#[test]
fn a_frame_of_virtual_8086_mode_keeps_the_segments_above_ss() {
    let with_segments = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        for (name, value) in
            [("es", "00002000"), ("ds", "00002001"), ("fs", "00000000"), ("gs", "00002003")]
        {
            record["frame"][name] = value.into();
        }
        record["origin"] = "virtual-8086".into();
        record.to_string()
    };
    let first = with_segments(&entry(1, 0x10_6fdc, json!([])));
    let data = data(&page(&[&header("k"), &first, &with_segments(&leave(1, 0x10_6fdc))]));
    assert_eq!(data["stops"]["ds"], json!({ "c": 0x2001 }));
    assert_eq!(data["stops"]["gs"], json!({ "c": 0x2003 }));
    assert_eq!(data["returns"]["shape"], json!({ "c": 8 }));
    assert_eq!(data["entries"]["shape"], json!({ "c": 8 | 2 }));
}

#[test]
fn nothing_of_a_trace_closes_its_element_or_opens_another() {
    let taken = "</script><script>alert(1)</script><!--";
    let header = header(taken);
    let console = json!({ "type": "console", "text": taken }).to_string();
    let code = json!({ "type": "code", "name": taken, "code": [["0", "cc", taken]] }).to_string();
    let page = page(&[&header, &console, &code]);
    assert_eq!(page.matches("<script").count(), 2, "the data, and the page's own");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
    assert_eq!(data(&page)["console"][0][1], taken);
}

#[test]
fn what_turns_text_around_or_moves_a_cursor_is_shown_as_its_number() {
    let text = "one\r\n\u{202e}owt\x1b[2J\n";
    let console = json!({ "type": "console", "text": text }).to_string();
    let code = json!({ "type": "code", "name": "f\u{200b}", "code": [] }).to_string();
    let page = page(&[&header("k\u{202e}"), &console, &code]);
    assert_eq!(data(&page)["console"][0][1], "one\n\\u{202e}owt\\x1b[2J\n");
    assert_eq!(data(&page)["places"][0]["name"], "f\\u{200b}");
    assert!(!page.contains(['\u{202e}', '\u{200b}', '\x1b']));
}

#[test]
fn the_policy_names_what_the_page_runs_and_nothing_else() {
    let page = page(&[&header("k")]);
    let (_, policy) = page.split_once("Content-Security-Policy\" content=\"").unwrap();
    let policy = policy.split('"').next().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert!(!page.contains("{{"), "a mark was left");
}

#[test]
fn a_trace_that_was_cut_off_is_shown_as_far_as_it_goes() {
    let text =
        format!("{}\n{}\n{{\"type\":\"entry\",\"se", header("k"), entry(1, 0x10_6fec, json!([])));
    let mut out = Vec::new();
    read(TraceReader::new(text.as_bytes()).unwrap()).unwrap().write(&mut out).unwrap();
    let data = data(&String::from_utf8(out).unwrap());
    assert_eq!((&data["rows"]["entries"], &data["cut"]), (&json!(1), &json!(true)));
}

#[test]
fn an_entry_has_the_name_that_held_when_it_came() {
    let name = |symbol: &str| {
        let place = json!({
            "type": "place", "address": "00100250", "use": "interrupted", "task": 1,
            "symbol": symbol, "offset": 3,
        });
        place.to_string()
    };
    let one = |sequence| entry(sequence, 0x10_6fec, json!([]));
    let data = data(&page(&[
        &header("k"),
        &one(1),
        &name("first"),
        &one(2),
        &name("second"),
        &one(3),
        &name(""),
        &one(4),
    ]));
    assert_eq!(data["places"][0]["name"], "first+3");
    assert_eq!(data["places"][1]["name"], "second+3");
    assert_eq!(data["entries"]["place"]["v"], super::columns::base64(&[0, 2, 2, 3]));
}

#[test]
fn a_line_that_cannot_be_read_is_told() {
    let text = format!("{}\n[1]\n{}\n", header("k"), entry(1, 0, json!([])));
    let error = read(TraceReader::new(text.as_bytes()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

fn finding(sentence: &str) -> Value {
    json!({
        "rule": "ending", "subject": "kernel", "place": "the end", "at": "00100216", "sentence": sentence,
        "expected": "this", "got": "that",
    })
}

fn end(findings: &[Value], last: bool) -> String {
    let mut end = serde_json::to_value(Record::End(Box::new(samples::end()))).unwrap();
    end["findings"] = findings.into();
    if !last {
        for name in ["last", "screen", "unjudged", "unanswered"] {
            end.as_object_mut().unwrap().remove(name);
        }
    }
    end.to_string()
}

#[test]
fn what_was_found_out_stands_with_its_finding_whether_that_comes_before_it_or_behind() {
    let cause = |sentence: &str, writer: &str| {
        let place = json!({ "name": writer, "at": "00100260", "code": [], "source": null });
        let cause = json!({
            "type": "cause", "rule": "ending", "at": "00100216", "sentence": sentence,
            "writer": [writer, "and again"], "places": [place],
        });
        cause.to_string()
    };
    let first = entry(1, 0x10_6fec, json!([finding("early")]));
    let found = [cause("late", "one"), cause("early", "another"), cause("of nobody", "a third")];
    let end = end(&[finding("late")], true);
    let page = page(&[&header("k"), &first, &found[0], &found[1], &found[2], &end]);
    let data = data(&page);
    let causes = data["causes"]["list"].as_array().unwrap();
    let told: Vec<_> = causes.iter().map(|one| (&one["sentence"], &one["writer"])).collect();
    let (early, late) = (json!("another; and again"), json!("one; and again"));
    assert_eq!(told, [(&json!("early"), &early), (&json!("late"), &late)]);
    assert_eq!(causes[1]["where"][0]["name"], "one");
    assert!(data["summary"].as_str().unwrap().contains("nobody there port 0x92"), "{data}");
    assert_eq!(data["last"]["title"], "the registers just before");
    assert_eq!(data["end"]["screen"]["lines"][0], "panic");
    // Without a script the same is told.
    for part in ["who wrote   another; and again", "the registers just before:\n  EAX "] {
        assert!(page.contains(part), "no {part} in {page}");
    }
}

#[test]
fn a_trace_from_before_there_were_causes_and_last_registers_is_shown_without_them() {
    let first = entry(1, 0x10_6fec, json!([finding("early")]));
    let data = data(&page(&[&header("k"), &first, &end(&[], false)]));
    assert_eq!(data["causes"]["list"][0]["sentence"], "early");
    assert_eq!((&data["causes"]["list"][0]["where"], &data["last"]), (&Value::Null, &Value::Null));
    assert!(data["verdict"].as_str().unwrap().starts_with("verdict: findings "), "{data}");
}

/// What is found when the run is over may be about one entry, which may not be the last.
#[test]
fn a_finding_of_the_end_that_names_an_entry_is_found_at_that() {
    let entries = [1, 2, 3].map(|sequence| entry(sequence, 0x10_6fec, json!([])));
    let mut about = finding("the kernel stopped itself");
    about["place"] = "#2 #GP in ring 0, at 00100251".into();
    let found = [about, finding("of the run as a whole")];
    let data =
        data(&page(&[&header("k"), &entries[0], &entries[1], &entries[2], &end(&found, false)]));
    let causes = &data["causes"]["list"];
    assert_eq!((&causes[0]["stops"], &causes[1]["stops"]), (&json!([1]), &json!([])));
    // Three more than the one before, and three less.
    assert_eq!(data["stops"]["judged"]["v"], super::columns::base64(&[0, 6, 5]));
}

/// The code of places stands at the end of a trace.
#[test]
fn without_its_code_an_entry_has_no_name_that_is_anothers() {
    let name = |symbol: &str, address: &str| {
        let place = json!({
            "type": "place", "address": address, "use": "interrupted", "task": 1, "symbol": symbol, "offset": 3,
        });
        place.to_string()
    };
    let (other, own) = (name("other", "00100999"), name("own", "00100250"));
    let detail = json!({ "type": "detail", "entry": 1, "code": 0, "handler": 1 }).to_string();
    let first = entry(1, 0x10_6fec, json!([]));
    let data = data(&page(&[&header("k"), &other, &own, &first, &detail]));
    assert_eq!(data["places"][1]["name"], "own+3");
    assert_eq!(
        (&data["entries"]["place"], &data["entries"]["handler"]),
        (&json!({ "c": 2 }), &json!({ "c": 0 }))
    );
}

#[test]
fn where_a_guest_died_in_ring_0_its_esp_is_told() {
    let first = entry(1, 0x10_6fec, json!([]));
    let of = |cs: &str| {
        let mut end: Value = serde_json::from_str(&end(&[], true)).unwrap();
        end["last"]["state"]["cs"][0] = cs.into();
        end["last"]["state"]["esp"] = "00104fe8".into();
        end["last"]["names"]["eip"] = "depth+5 (kernel.c:13)".into();
        data(&page(&[&header("k"), &first, &end.to_string()]))
    };
    assert_eq!((&of("0008")["lastEsp"], &of("001b")["lastEsp"]), (&json!(0x10_4fe8), &Value::Null));
    assert_eq!(of("0008")["lastPlace"], "depth+5 (kernel.c:13)");
}

//! The page around its data.

use super::columns::base64;
use super::data::Data;
use super::readable::lines;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

const PAGE: &str = include_str!("assets/page.html");
const STYLE: &str = include_str!("assets/page.css");
/// One function around them all: nothing of the page is a global name.
const SCRIPTS: [&str; 12] = [
    "'use strict';\n(() => {\n",
    include_str!("assets/dom.js"),
    include_str!("assets/data.js"),
    include_str!("assets/picture.js"),
    include_str!("assets/extent.js"),
    include_str!("assets/stack.js"),
    include_str!("assets/timeline.js"),
    include_str!("assets/list.js"),
    include_str!("assets/entry.js"),
    include_str!("assets/findings.js"),
    include_str!("assets/main.js"),
    "})();\n",
];

/// Writes it. The template's marks stand in an order of their own, and nothing that was put in is looked at
/// for marks again.
pub(super) fn write(data: &Data, out: &mut impl Write) -> io::Result<()> {
    let script = SCRIPTS.concat();
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(STYLE)
    );
    let json = serde_json::to_string(&data.pack()).map_err(io::Error::other)?;
    let mut rest = PAGE;
    while let Some((before, behind)) = rest.split_once("{{") {
        out.write_all(before.as_bytes())?;
        let (mark, behind) = behind.split_once("}}").unwrap_or((behind, ""));
        match mark {
            "policy" => out.write_all(policy.as_bytes())?,
            "title" => out.write_all(escaped(&title(data)).as_bytes())?,
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => out.write_all(script.as_bytes())?,
            "data" => out.write_all(json.replace('<', "\\u003c").as_bytes())?,
            "plain" => out.write_all(escaped(&plain(data)).as_bytes())?,
            _ => unreachable!("the page has no mark {mark}"),
        }
        rest = behind;
    }
    out.write_all(rest.as_bytes())?;
    out.flush()
}

fn title(data: &Data) -> String {
    let kernel = data.kernel();
    let name = kernel.rsplit('/').next().unwrap_or(kernel);
    format!("{name}: esp0 report")
}

/// The findings for a browser that runs no script.
fn plain(data: &Data) -> String {
    let mut text = format!("{}\n", data.verdict());
    for cause in data.causes().in_order() {
        let texts = cause.texts();
        for (name, before) in [
            ("place", "\n"),
            ("sentence", ""),
            ("expected", "  expected    "),
            ("got", "  got         "),
            ("reason", "  why         "),
            ("advice", "  what to do  "),
            ("writer", "  who wrote   "),
            ("way", "  led there   "),
        ] {
            if let Some(line) = texts.get(name).and_then(Value::as_str) {
                text.push_str(&format!("{before}{line}\n"));
            }
        }
    }
    if let Some((title, registers)) = data.last() {
        text.push_str(&format!("\n{title}:\n{registers}"));
    }
    text
}

fn escaped(text: &str) -> String {
    lines(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn hash(text: &str) -> String {
    base64(&Sha256::digest(text.as_bytes()))
}

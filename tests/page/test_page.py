#!/usr/bin/env python3
"""Opens report pages in Chromium and uses them as a reader would. Started by scripts/page-test.

usage: test_page.py ESP0 FOLDER [AXE]

FOLDER has broken.html and broken.jsonl, a run of a broken kernel, micro.html and micro.jsonl, of a right one, and
overflow.html, of a kernel in C, if there is a compiler; pictures are left there. AXE is axe-core's script.
"""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import traces
from browser import Browser, Failed, find

ENTRIES = 100_000
LARGEST = 20_000_000
SLOWEST = 2_000


def check(condition, sentence):
    if not condition:
        raise Failed(sentence)


class Tests:
    def __init__(self, browser, esp0, folder, axe):
        self.browser, self.esp0, self.folder, self.axe = browser, esp0, Path(folder), axe

    def open(self, name, **options):
        return self.browser.open(self.folder / name, **options)

    def quiet(self):
        said = self.browser.complaints()
        check(not said, f"the page complained: {said}")

    def made(self, trace, page, *more):
        subprocess.run([self.esp0, "trace", "report", self.folder / trace, "-o", self.folder / page, *more], check=True)

    def test_a_finding_is_the_first_that_is_seen(self):
        self.open("broken.html")
        value = self.browser.value
        check(value("document.querySelectorAll('.cause.wrong').length") > 0, "there is no finding")
        top = value("document.querySelector('.cause h3').getBoundingClientRect().top")
        check(0 < top < 400, f"the finding begins at {top}")
        for part in (".expected p", ".got p", ".advice"):
            check(value(f"document.querySelector('.cause {part}').textContent.length") > 5, f"{part} is empty")
        check(value("document.querySelector('.cause svg [class*=wrong]') !== null"), "its picture shows nothing wrong")
        self.quiet()

    def test_a_finding_shows_the_line_that_is_wrong(self):
        if not (self.folder / "overflow.html").exists():
            print("    skipped: no kernel in C was built, gcc -m32 is missing")
            return
        self.open("overflow.html")
        lines = self.browser.value("[...document.querySelectorAll('.cause .source .here')].map((line) => line.textContent)")
        check(any("locals" in line or "deeper" in line for line in lines), f"the lines are {lines}")
        said = self.browser.value("document.querySelector('.cause').textContent")
        check("stacks.c" in said, "the finding names no file")
        self.quiet()

    def test_an_entry_is_found_by_search_and_clicked_and_read(self):
        self.open("micro.html")
        browser = self.browser
        browser.key("/")
        check(browser.value("document.activeElement.id") == "search", "/ does not go to the search")
        browser.type("int 0x80")
        browser.wait("/ of /.test(document.querySelector('#list [role=status]').textContent)")
        found = browser.value("[...document.querySelectorAll('#grid .grid-body .c2')].map((cell) => cell.textContent)")
        check(found and all(name == "int 0x80" for name in found), f"found {found}")
        browser.click("#grid .grid-body [role=row]:nth-child(2)")
        browser.wait("document.querySelector('#entry-title').textContent.includes('int 0x80')")
        check(browser.value("document.querySelector('#entry .picture') !== null"), "there is no picture")
        for moment in ("deepest", "return", "after", "entry"):
            browser.value(f"document.querySelector('input[value={moment}]').click()")
            browser.wait("document.querySelector('#entry .drawing').children.length > 0")
        words = browser.value("document.querySelector('#entry tbody').textContent")
        check("EFLAGS" in words and "EIP" in words, f"the words are {words}")
        self.quiet()

    def test_searches_say_what_they_find(self):
        self.open("micro.html")
        self.browser.value("document.querySelector('.segments') && 0")
        wanted = {
            "#3": "every('.c0', (text) => text === '3')", "task 2": "every('.c1', (text) => text === '2')",
            "0x80": "every('.c2', (text) => text.endsWith('0x80'))", "ring 3": "every('.c3', (text) => text === '3→0')",
            "zzzz": "rows().length === 0",
        }
        for query, condition in wanted.items():
            self.browser.value(
                f"(() => {{ const input = document.querySelector('#search'); input.value = {query!r}; input.dispatchEvent(new Event('input')); }})()"
            )
            self.browser.wait("/ of /.test(document.querySelector('#list [role=status]').textContent)")
            time.sleep(0.2)
            check(self.browser.value(
                "(() => { const rows = () => [...document.querySelectorAll('#grid .grid-body [role=row]')];"
                " const every = (cell, is) => rows().length > 0 && rows().every((row) => is(row.querySelector(cell).textContent));"
                f" return {condition}; }})()"), f"a search for {query} finds something else")
        self.quiet()

    def test_it_is_used_by_keyboard_alone(self):
        self.open("micro.html")
        browser = self.browser
        browser.value("document.querySelector('#grid').focus()")
        browser.key("Home")
        browser.key("ArrowDown")
        browser.wait("document.querySelector('#entry-title').textContent.startsWith('#2 ')")
        active = browser.value("document.querySelector('#grid').getAttribute('aria-activedescendant')")
        check(browser.value(f"document.getElementById({active!r}).getAttribute('aria-selected')") == "true", "the active row is not selected")
        browser.value("document.querySelector('.timeline').focus()")
        before = browser.value("document.querySelector('#timeline .hint').textContent")
        browser.key("+")
        after = browser.value("document.querySelector('#timeline .hint').textContent")
        check(before != after, "+ does not zoom the timeline")
        browser.key("Enter")
        check(browser.value("document.querySelector('#entry-title').textContent.startsWith('#')"), "Enter opens nothing")
        browser.value("document.activeElement.blur()")
        browser.key("?")
        check(browser.value("document.querySelector('#help').open"), "? shows no keys")
        browser.key("Escape")
        self.quiet()

    def test_the_timeline_zooms_from_the_whole_run_to_one_entry(self):
        self.open("micro.html")
        browser = self.browser
        browser.value("document.querySelector('.timeline').scrollIntoView({ block: 'center' })")
        for _ in range(12):
            box = browser.value("(() => { const box = document.querySelector('.timeline').getBoundingClientRect(); return [box.left, box.top, box.width]; })()")
            if browser.value("document.querySelectorAll('.timeline .on-bar').length") > 0:
                break
            browser.drag(box[0] + 0.3 * box[2], box[1] + 40, box[0] + 0.5 * box[2])
        names = browser.value("[...document.querySelectorAll('.timeline .on-bar')].map((name) => name.textContent)")
        check(names, "no entry has room for its name")
        browser.click_at(box[0] + 0.5 * box[2], box[1] + 40)
        browser.wait("document.querySelector('.timeline .selected') !== null")
        self.quiet()

    def test_what_a_guest_prints_and_is_called_does_nothing(self):
        traces.hostile(self.folder / "broken.jsonl", self.folder / "hostile.jsonl")
        self.made("hostile.jsonl", "hostile.html")
        self.open("hostile.html")
        value = self.browser.value
        check(value("document.title") != "taken", "the guest's script ran")
        check(value("document.querySelectorAll('script').length") == 2, "there is another script")
        check(value("document.querySelectorAll('img').length") == 0, "there is an image")
        check("<script>" in value("document.querySelector('#output-body').textContent"), "the console is not shown as it is")
        self.quiet()

    def test_claims_stand_beside_the_run(self):
        traces.claims(self.folder / "claims.json")
        self.made("micro.jsonl", "claims.html", "--claims", self.folder / "claims.json")
        self.open("claims.html")
        value = self.browser.value
        rows = value("[...document.querySelectorAll('#claims tbody tr')].map((row) => row.querySelector('.status').textContent)")
        check(rows == ["proved", "refuted"], f"the claims came out {rows}")
        check("1 proved, 1 refuted" in value("document.querySelector('#glance').textContent"), "the glance does not count them")
        check(value("document.title") != "taken" and value("document.querySelectorAll('img').length") == 0, "a claim got out")
        self.quiet()
        self.open("micro.html")
        check(value("document.querySelector('#claims').hidden"), "there are claims in a run without some")

    def test_a_finding_about_a_switch_shows_the_iret_that_switched(self):
        self.open("broken.html")
        block = self.browser.value("document.querySelector('.cause .place').textContent")
        check("the switch to task 2" in block and "iretd" in block, f"its code is {block!r}")
        self.quiet()

    def test_an_injected_script_would_not_run(self):
        text = (self.folder / "broken.html").read_text(encoding="utf-8")
        forged = text.replace("</main>", "<script>document.title = 'taken'</script><img src=\"https://example.org/x.png\"></main>")
        (self.folder / "forged.html").write_text(forged, encoding="utf-8")
        self.open("forged.html")
        check(self.browser.value("document.title") != "taken", "a script of another hash ran")
        said = self.browser.complaints()
        check(any("Content Security Policy" in one for one in said), f"the policy said nothing: {said}")

    def test_dark_print_and_narrow_hold(self):
        browser = self.browser
        for width in (1400, 420):
            for dark in (False, True):
                self.open("broken.html", width=width, dark=dark)
                wide = browser.value("document.documentElement.scrollWidth")
                check(wide <= width, f"at {width} pixels the page is {wide} wide")
                colour = browser.value("getComputedStyle(document.body).backgroundColor")
                check((colour != "rgb(255, 255, 255)") == dark, f"dark is {dark} and the ground {colour}")
                browser.picture(self.folder / f"broken-{width}-{'dark' if dark else 'light'}.png", whole=True)
                self.quiet()
        browser.ask("Emulation.setEmulatedMedia", media="print")
        check(browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "print is dark")
        check(browser.value("getComputedStyle(document.querySelector('.cause')).display") == "block", "findings are not printed")
        browser.ask("Page.printToPDF")

    def test_a_hundred_thousand_entries_stay_small_and_fast(self):
        traces.long(self.folder / "micro.jsonl", self.folder / "long.jsonl", ENTRIES)
        started = time.monotonic()
        self.made("long.jsonl", "long.html")
        made = time.monotonic() - started
        size = (self.folder / "long.html").stat().st_size
        first, ready = self.open("long.html")
        rows = self.browser.value("document.querySelectorAll('#grid [role=row]').length")
        self.browser.value("(() => { document.querySelector('#grid').scrollTop = 1e7; })()")
        self.browser.wait(f"[...document.querySelectorAll('#grid .c0')].some((cell) => cell.textContent === '{ENTRIES:,}')")
        search = self.browser.value(
            "(async () => { const input = document.querySelector('#search'); const start = performance.now(); input.value = 'int 0x80';"
            " input.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })); return performance.now() - start; })()")
        print(f"    {ENTRIES:,} entries: made in {made:.1f} s, {size / 1e6:.1f} MB, first picture {first:.0f} ms, whole {ready:.0f} ms, a search {search:.0f} ms")
        check(size <= LARGEST, f"the page has {size} bytes")
        check(first <= SLOWEST, f"the first picture takes {first} ms")
        check(rows < 200, f"{rows} rows are in the document")
        self.quiet()

    def test_axe_finds_nothing_serious(self):
        if not self.axe:
            print("    skipped: axe-core is not there (npm or the network is missing)")
            return
        script = Path(self.axe).read_text(encoding="utf-8")
        for name in ("broken.html", "micro.html"):
            for dark in (False, True):
                self.open(name, dark=dark)
                self.browser.value(script + "; 0")
                found = self.browser.value(
                    "axe.run(document).then((result) => result.violations.map((one) => [one.impact, one.id, one.nodes.length, one.nodes[0].target.join(' '), one.nodes[0].failureSummary]))")
                serious = [one for one in found if one[0] in ("serious", "critical")]
                check(not serious, f"axe in {name}, dark {dark}: {serious}")
                if found:
                    print(f"    {name}: {[one[:4] for one in found]}")


def main():
    esp0, folder = sys.argv[1:3]
    axe = sys.argv[3] if len(sys.argv) > 3 else None
    wanted = os.environ.get("ONLY", "")
    failed = 0
    with Browser(find()) as browser:
        tests = Tests(browser, esp0, folder, axe)
        for name in dir(tests):
            if not name.startswith("test_") or wanted not in name:
                continue
            sentence = name.removeprefix("test_").replace("_", " ")
            try:
                getattr(tests, name)()
                print(f"ok      {sentence}")
            except Exception as error:  # the next test is run all the same
                failed += 1
                print(f"FAILED  {sentence}\n        {error}")
                if not isinstance(error, Failed):
                    traceback.print_exc()
    sys.exit(1 if failed else 0)


main()

#!/usr/bin/env python3
"""Opens report pages in Chromium and uses them as a reader would. Started by scripts/page-test.

usage: test_page.py ESP0 FOLDER [AXE]

FOLDER has broken.html and broken.jsonl, a run of a broken kernel, micro.html and micro.jsonl, of a right one, and
overflow.html, died.html and vectors.html, of kernels in C, if there is a compiler; pictures are left there. AXE is axe-core's script.
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
        check("\\u{202e}gnp.exe\\x1b[2J" in value("document.querySelector('#output-body').textContent"), "what turns text around is not shown as its number")
        check(not value(r"/[\u202e\u001b]/.test(document.body.innerText + document.title)"), "text can be turned around")
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

    def test_a_trace_without_a_report_has_the_cards_and_says_how_to_get_the_rest(self):
        kept = traces.without_details(self.folder / "broken.jsonl", self.folder / "alone.jsonl")
        check(kept > 0, "the run kept no stacks")
        self.made("alone.jsonl", "alone.html")
        cards = []
        for name in ("broken.html", "alone.html"):
            self.open(name)
            cards.append(self.browser.value("[...document.querySelectorAll('.cause-text')].map((card) => card.innerHTML)"))
        check(cards[0] == cards[1], f"the cards are {cards}")
        check("--report" in self.browser.value("document.querySelector('#kept').textContent"), "it does not say how to get stacks")
        check("iretd" in self.browser.value("document.querySelector('.cause .place').textContent"), "there is no code")
        self.browser.value("document.querySelector('input[value=deepest]').click()")
        self.quiet()

    def test_a_guest_that_died_shows_its_last_registers(self):
        if not (self.folder / "died.html").exists():
            print("    skipped: no kernel in C was built, gcc -m32 is missing")
            return
        self.open("died.html")
        said = self.browser.value("document.querySelector('#summary-body').textContent")
        check("The registers just before" in said and "CS:EIP 0008:" in said, f"the summary says {said}")
        self.quiet()

    def test_a_word_of_a_picture_is_named_in_full_on_a_wide_page(self):
        for name in ("broken.html", "micro.html"):
            self.open(name, width=1400)
            for moment in ("deepest", "return", "after", "entry"):
                self.drawn(moment)
                cut = self.browser.value("[...document.querySelectorAll('svg .label')].map((one) => one.firstChild?.textContent ?? '').filter((text) => text.endsWith('…'))")
                check(not cut, f"{name}, {moment}: cut are {cut}")

    def test_a_finding_about_a_switch_shows_the_iret_that_switched(self):
        self.open("broken.html")
        block = self.browser.value("document.querySelector('.cause .place').textContent")
        check("the switch to task 2" in block and "iretd" in block, f"its code is {block!r}")
        here = self.browser.value("document.querySelector('.cause .place .here').textContent")
        check("iretd" in here, f"the mark is at {here!r}")
        self.quiet()

    def drawn(self, moment, part="#entry .drawing"):
        """What an entry's picture says at a moment."""
        self.browser.value(f"document.querySelector('input[value={moment}]').click()")
        return self.browser.value(f"document.querySelector({part!r}).textContent")

    def test_code_of_a_program_goes_on_behind_the_place(self):
        self.open("micro.html")
        shown = self.browser.value(
            "(() => { const all = [...document.querySelectorAll('#entry .place:first-child .code:not(.source) > span')];"
            " return [all.length, all.findIndex((one) => one.className === 'here')]; })()")
        check(shown[0] - shown[1] > 3, f"of {shown[0]} instructions the place is number {shown[1]}")

    def test_stacks_are_told_as_the_run_counted_them(self):
        self.open("broken.html")
        told = self.browser.value("JSON.parse(document.querySelector('#data').textContent).end.stacks.map((one) => [one.esp0, one.entries])")
        shown = self.browser.value("[...document.querySelectorAll('#stacks tbody tr')].map((row) => [row.cells[1].textContent, Number(row.cells[6].textContent)])")
        check(told == shown, f"told {told}, shown {shown}")

    def test_of_ten_thousand_stacks_the_first_are_shown_and_the_others_counted(self):
        traces.many_stacks(self.folder / "micro.jsonl", self.folder / "many.jsonl", 10_000)
        self.made("many.jsonl", "many.html")
        self.open("many.html")
        value = self.browser.value
        check(value("document.querySelectorAll('#stacks tbody tr').length") == 200, "the table is not what it should be")
        said = value("document.querySelector('#stacks').textContent")
        check("9,800 more are in the trace" in said, "nobody says that there are more")
        check("mov ss → 9000:0000ff00 at linear 0009ff00, real mode" in said, "the stack that the kernel loaded is not there")
        check(value("document.querySelector('#summary pre').textContent").count("\n") < 80, "the summary has a line for each")
        self.quiet()

    def test_only_what_the_kernel_pushed_is_its_stack(self):
        pushed = "/[\\d,]+ bytes pushed/.exec(document.querySelector('#entry .drawing').textContent)?.[0]"
        texts = []
        check(traces.touched(self.folder / "micro.jsonl", self.folder / "touched.jsonl") > 0, "no stack was kept")
        self.made("touched.jsonl", "touched.html")
        for name in ("micro.html", "touched.html"):
            self.open(name)
            self.drawn("deepest")
            texts.append(self.browser.value(pushed))
        check(texts[0] and texts[0] == texts[1], f"pushed were {texts}")

    def test_an_entry_that_stays_in_ring_0_has_the_interrupted_kernel_above_it(self):
        number = traces.without_tss(self.folder / "micro.jsonl", self.folder / "idle.jsonl")
        self.made("idle.jsonl", "idle.html")
        self.open(f"idle.html#e{number}")
        said = self.browser.value("document.querySelector('#findings').textContent")
        check("cut off" in said and "did not end well" not in said, f"of a trace that was cut off it says {said}")
        for moment in ("entry", "after"):
            said = self.drawn(moment)
            check("TSS" not in said and "ends at 00000000" not in said, f"{moment}: {said}")
            check("all of it is free" not in said and "nothing is in use" not in said, f"{moment}: {said}")
            check("before" in said or "more" in said, f"{moment}: nothing lies above the frame: {said}")
        self.quiet()

    def test_an_end_that_is_not_known_is_no_end(self):
        number = traces.without_end_of_stack(self.folder / "micro.jsonl", self.folder / "endless.jsonl")
        self.made("endless.jsonl", "endless.html")
        self.open(f"endless.html#e{number}")
        said = self.drawn("entry")
        check("above: not known" in said and "bytes before" not in said, f"it says {said}")
        self.quiet()

    def test_a_guest_that_died_is_shown_at_the_entry_that_its_finding_names(self):
        named, last, esp = traces.died(self.folder / "micro.jsonl", self.folder / "ended.jsonl")
        self.made("ended.jsonl", "ended.html")
        self.open("ended.html")
        value = self.browser.value
        check(value("document.querySelector('.links a').textContent") == f"Open entry #{named}", "the link leads elsewhere")
        check(value("document.querySelector('#entry-title').textContent").startswith(f"#{named} "), "another entry is open")
        check(value("document.querySelector('#entry .callout.wrong') !== null"), "the entry does not say what was found")
        check(value("document.querySelectorAll('.timeline path.found').length") == 1, "the timeline does not mark it")
        marks = value("[...document.querySelectorAll('#grid .judged-3 .c0')].map((cell) => cell.textContent)")
        check(marks == [str(named)], f"the list marks {marks}")
        self.open(f"ended.html#e{last}")
        said = self.drawn("entry")
        check(f"deepest {esp}" in said, f"the stack was used down to {esp}, and the picture says {said}")
        check("6 KiB" in value("document.querySelector('#stacks tbody').textContent"), "the table does not say how far")
        self.quiet()

    def test_each_finding_is_marked_on_the_timeline(self):
        traces.with_findings(self.folder / "micro.jsonl", self.folder / "findings.jsonl", 150)
        self.made("findings.jsonl", "findings.html")
        self.open("findings.html")
        marks = self.browser.value("document.querySelectorAll('.timeline path.found').length")
        check(marks == 150, f"{marks} of 150 are marked")

    def test_code_without_a_name_has_its_address(self):
        at = traces.without_names(self.folder / "broken.jsonl", self.folder / "nameless.jsonl")
        self.made("nameless.jsonl", "nameless.html")
        self.open("nameless.html")
        names = self.browser.value("[...document.querySelectorAll('.cause .place h4 code')].map((name) => name.textContent)")
        check(names and names[-1] == at, f"the code at {at} is called {names}")

    def test_an_entry_that_was_not_returned_from_has_no_picture_of_its_return(self):
        self.open("broken.html#e2")
        for moment in ("deepest", "return", "after"):
            said = self.drawn(moment)
            check(said.startswith("No return that pops this frame was seen"), f"{moment}: {said}")
        self.quiet()

    def test_words_of_two_bytes_are_drawn_as_such(self):
        traces.sixteen_bits(self.folder / "micro.jsonl", self.folder / "narrow.jsonl")
        self.made("narrow.jsonl", "narrow.html")
        self.open("narrow.html")
        at = self.browser.value("[...document.querySelectorAll('.cause svg .label.mono.muted')].map((one) => parseInt(one.textContent, 16)).sort()")
        check(at[-1] - at[0] == 6 and len(at) == 4, f"the words are at {at}")
        said = self.browser.value("document.querySelector('.cause svg').textContent")
        check("upper half of the pushed EIP" in said, f"it says {said}")
        self.quiet()

    def test_a_finding_says_first_whose_fault_it_is_if_it_is_not_the_kernels(self):
        traces.of_the_processor(self.folder / "broken.jsonl", self.folder / "processor.jsonl")
        self.made("processor.jsonl", "processor.html")
        tags = []
        for name in ("broken.html", "processor.html"):
            self.open(name)
            tags.append(self.browser.value("document.querySelector('.cause .tag').textContent"))
        check(tags == ["finding", "finding about the processor"], f"the tags are {tags}")

    def test_a_finding_about_sysenter_is_shown_without_another_entrys_frame(self):
        traces.by_sysenter(self.folder / "broken.jsonl", self.folder / "sysenter.jsonl")
        self.made("sysenter.jsonl", "sysenter.html")
        self.open("sysenter.html")
        value = self.browser.value
        check(value("document.querySelector('.cause.wrong h3').textContent") == "SYSENTER has loaded ESP with 0", "it is not the finding")
        check(value("document.querySelector('.cause svg') === null"), "there is a picture of something else")
        check("1 SYSENTER came too" in value("document.querySelector('#sysenters').textContent"), "nobody says where it is")
        check("SYSENTERs" in value("document.querySelector('#timeline .hint').textContent"), "the timeline does not name it")
        check(value("document.querySelectorAll('#grid [aria-selected=true]').length") == 1, "no entry is open")
        self.quiet()

    def test_a_frame_of_virtual_8086_mode_has_nine_words(self):
        number = traces.virtual_8086(self.folder / "micro.jsonl", self.folder / "vm86.jsonl")
        self.made("vm86.jsonl", "vm86.html")
        self.open(f"vm86.html#e{number}")
        for moment in ("entry", "return"):
            said = self.drawn(moment)
            check("GS00002004" in said and "ES00002001" in said, f"{moment}: {said}")
        rows = self.browser.value("[...document.querySelectorAll('#entry tbody tr')].map((row) => [row.cells[1].textContent, row.cells[3].textContent])")
        check(rows[0] == ["GS", "00002004"] and len(rows) == 9, f"the words are {rows}")
        self.quiet()

    def test_on_a_telephone_every_word_is_told_in_full(self):
        for name in ("broken.html", "micro.html", "overflow.html"):
            if not (self.folder / name).exists():
                continue
            self.open(name, width=420)
            for moment in ("entry", "deepest"):
                self.drawn(moment)
                lost = self.browser.value(
                    "[...document.querySelectorAll('figure')].flatMap((figure) => { const told = [...figure.querySelectorAll('.whole dd')].map((one) => one.textContent);"
                    " return [...figure.querySelectorAll('.label')].filter((one) => one.firstChild?.textContent.endsWith('…'))"
                    " .filter((one) => !told.includes(one.querySelector('title')?.textContent)).map((one) => one.textContent); })")
                check(not lost, f"{name}, {moment}: cut and not told are {lost}")
            cut = self.browser.value("[...document.querySelectorAll('#grid .c2, #grid .head > *')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent)")
            check(not cut, f"{name}: of the list are cut {cut}")
            wide = self.browser.value("document.querySelector('#entry table').scrollWidth - document.querySelector('#entry .scroll-x').clientWidth")
            check(wide <= 0, f"{name}: the table of words is {wide} too wide")
            over = self.browser.value(
                "(() => { const names = [...document.querySelectorAll('.timeline .label.strong')].map((one) => one.getBoundingClientRect());"
                " const rings = [...document.querySelectorAll('.timeline .label.tiny')].map((one) => one.getBoundingClientRect());"
                " return names.some((name) => rings.some((ring) => name.right > ring.left && name.top < ring.bottom && ring.top < name.bottom)); })()")
            check(not over, f"{name}: a task's name stands over its rings")
            self.quiet()

    def test_the_marked_line_is_the_one_that_is_named(self):
        for name in ("overflow.html", "died.html", "vectors.html"):
            if not (self.folder / name).exists():
                continue
            self.open(name)
            places = self.browser.value(
                "[...document.querySelectorAll('.cause .place')].filter((one) => one.querySelector('.source .here')).map((one) =>"
                " [/:(\\d+)\\)/.exec(one.querySelector('h4').textContent)?.[1], /(\\d+)/.exec(one.querySelector('.source .here').textContent)[1]])")
            check(places and all(named == marked for named, marked in places), f"{name}: named and marked are {places}")
            self.quiet()

    def test_vectors_of_exceptions_lead_to_who_has_set_them(self):
        if not (self.folder / "vectors.html").exists():
            print("    skipped: no kernel in C was built, gcc -m32 is missing")
            return
        self.open("vectors.html")
        here = self.browser.value("document.querySelector('.cause .source .here').textContent")
        check("tick_at" in here, f"the mark is at {here!r}")
        self.quiet()

    def test_a_page_without_entries_has_no_empty_parts(self):
        traces.bare(self.folder / "broken.jsonl", self.folder / "bare.jsonl")
        self.made("bare.jsonl", "bare.html")
        self.open("bare.html")
        check(self.browser.value("document.querySelector('#entry').offsetHeight") == 0, "there is an empty box")
        links = self.browser.value("document.querySelector('.links').textContent.trim()")
        check(links.startswith("Rule"), f"the links are {links!r}")
        check(self.browser.value("document.querySelector('.got code').textContent") == "int 0x80", "backticks are shown as they are")
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

    def test_nothing_is_cut_off_on_paper(self):
        browser = self.browser
        paper = 718
        for name in ("micro.html", "broken.html"):
            self.open(name)
            browser.value("window.dispatchEvent(new Event('beforeprint'))")
            browser.ask("Emulation.setEmulatedMedia", media="print")
            browser.ask("Emulation.setDeviceMetricsOverride", width=paper, height=1000, deviceScaleFactor=1, mobile=False)
            browser.value("new Promise((done) => setTimeout(done, 200))")
            beyond = browser.value(
                f"[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > {paper}).map((one) => one.tagName).slice(0, 5)")
            check(not beyond, f"{name}: beyond the page are {beyond}")
            lanes = browser.value("document.querySelector('.timeline').getAttribute('width')")
            check(int(lanes) <= paper, f"{name}: the timeline is {lanes} wide")

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
        traces.bare(self.folder / "broken.jsonl", self.folder / "bare.jsonl")
        self.made("bare.jsonl", "bare.html")
        names = [name for name in ("broken.html", "micro.html", "bare.html", "overflow.html") if (self.folder / name).exists()]
        for name in names:
            for width, dark in ((1400, False), (1400, True), (420, False)):
                self.open(name, width=width, dark=dark)
                self.browser.value(script + "; 0")
                found = self.browser.value(
                    "axe.run(document).then((result) => result.violations.map((one) => [one.impact, one.id, one.nodes.length, one.nodes[0].target.join(' '), one.nodes[0].failureSummary]))")
                serious = [one for one in found if one[0] in ("serious", "critical")]
                check(not serious, f"axe in {name}, {width} wide, dark {dark}: {serious}")
                check(not any(one[1] == "landmark-unique" for one in found), f"{name}, {width}: two regions of one name: {found}")
                if found:
                    print(f"    {name}, {width}: {[one[:4] for one in found]}")


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

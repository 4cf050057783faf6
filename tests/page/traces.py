"""Traces that no guest of esp0's writes: long ones, and hostile ones. Both are made out of a real one."""

import json
import random

# What a hostile guest might call things. None of it may do anything.
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">\u202egnp.exe\x1b[2J"


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write(path, records):
    with open(path, "w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def long(source, path, entries, seed=1):
    """Goes on with the entries and returns of `source`, numbers, registers and tasks changed, until there are
    so many entries."""
    draw = random.Random(seed)
    records = lines(source)
    header = records[0]
    pairs = [record for record in records if record["type"] in ("entry", "return")]
    first = next(index for index, record in enumerate(pairs) if record["type"] == "entry")
    pairs = pairs[first:]
    others = [record for record in records if record["type"] in ("code", "place", "names")]
    codes = sum(record["type"] == "code" for record in others)
    out = [header, *[record for record in others if record["type"] != "names"]]
    sequence, time = 0, 0
    while sequence < entries:
        for one in pairs:
            one = dict(one)
            time += draw.randrange(1, 4000)
            one["time"] = time
            one["findings"], one["verdict"] = [], "ok"
            one.pop("exact", None)
            if one["type"] == "entry":
                sequence += 1
                one["sequence"] = sequence
                for name in ("eax", "ecx", "edx", "ebx", "esi", "edi", "ebp"):
                    if draw.random() < 0.5:
                        one[name] = f"{draw.getrandbits(32):08x}"
                if codes > 0:
                    out.append(one)
                    out.append({"type": "detail", "entry": sequence, "code": draw.randrange(codes), "handler": 0})
                    continue
            else:
                one["after"] = sequence
            out.append(one)
            if sequence == entries and one["type"] == "return":
                break
    end = [record for record in records if record["type"] == "end"]
    write(path, out + end)


def hostile(source, path):
    """The same run, of a guest that is called, prints and names everything so as to break out of the page."""
    records = lines(source)
    for record in records:
        if record["type"] == "header":
            record["kernel"] = record["command_line"] = HOSTILE
        for code in [record] if record["type"] == "code" else record.get("places", []):
            code["name"] = HOSTILE
            code["code"] = [[at, raw, HOSTILE] for at, raw, _ in code["code"]]
            code["source"] = {"path": HOSTILE, "line": 2, "first": 1, "lines": [HOSTILE] * 3, "newer": True}
        if record["type"] == "cause":
            record.update(sentence=HOSTILE, writer=[HOSTILE], way=[HOSTILE])
        if record["type"] == "place":
            record["symbol"] = record["program"] = record["file"] = HOSTILE
        for finding in record.get("findings") or []:
            for name in ("place", "sentence", "expected", "got", "reason", "advice"):
                finding[name] = HOSTILE
        if record["type"] == "end":
            record.update(ending=HOSTILE, unanswered=[HOSTILE], screen={"columns": 80, "rows": 25, "address": "000b8000", "lines": [HOSTILE]})
    records.insert(1, {"type": "console", "text": HOSTILE})
    write(path, records)


def finding(rule, **texts):
    return {"rule": rule, "subject": "kernel", "place": "the end", "at": "00100000", "sentence": "something is wrong",
            "expected": "that", "got": "this", **texts}


def bare(source, path):
    """A run that came to nothing: no entry, no return, a finding at its end."""
    records = lines(source)
    end = {**records[-1], "stacks": [], "verdict": "guest-failed", "findings": [finding("shutdown", got="`int 0x80` met #TS")]}
    write(path, [records[0], end])


def without_tss(source, path):
    """The same run, of a kernel that has no TSS: only entries that stay in ring 0, and a trace that was cut off."""
    records = [record for record in lines(source) if record["type"] not in ("end", "place")]
    kept, numbers = [], set()
    for record in records:
        if record["type"] == "entry":
            if record["from_ring"] > 0:
                continue
            record.update(tr="0000", ss0="0000", esp0="00000000")
            numbers.add(record["sequence"])
        if record["type"] == "return" and (record["to_ring"] > 0 or record["after"] not in numbers):
            continue
        if record["type"] == "detail" and record.get("entry") not in numbers:
            continue
        kept.append(record)
    write(path, kept)
    return min(numbers)


def without_details(source, path):
    """The same trace as a run writes it that was asked for no page; how many lines were for the page alone."""
    records = lines(source)
    kept = [record for record in records if record["type"] not in ("detail", "code", "names")]
    write(path, kept)
    return len(records) - len(kept)


def touched(source, path):
    """The same run, of a kernel that keeps other things in the page of a stack: a word far below has changed."""
    records = lines(source)
    start = {}
    pages = [record["stack"]["from"] for record in records if record["type"] == "detail" and "stack" in record]
    for record in records:
        if record["type"] == "detail" and record.get("changed"):
            page = next((page for page in pages if int(page, 16) <= int(record["changed"][0][0], 16) < int(page, 16) + 0x2000), None)
            if page:
                record["changed"].insert(0, [page, "12345678"])
                start[page] = True
    write(path, records)
    return len(start)


def sixteen_bits(source, path):
    """The same run, but the first IRET pops words of two bytes, out of the words that its entry had pushed."""
    records = lines(source)
    pushed = {}
    for record in records:
        if record["type"] == "entry":
            pushed[record["frame"]["address"]] = record
        if record["type"] != "return" or record["frame"]["address"] not in pushed:
            continue
        frame = pushed[record["frame"]["address"]]["frame"]
        record["to_ring"] = 0
        record["frame"] = {
            "address": frame["address"], "word_size": 2, "eip": "0000" + frame["eip"][4:], "cs": "0000" + frame["eip"][:4],
            "eflags": "0000" + frame["cs"][4:],
        }
        record["findings"] = [finding("return_frame", got=f"words of two bytes: EIP {frame['eip'][4:]}, CS {frame['eip'][:4]}")]
        record["verdict"] = "finding"
        break
    write(path, records)


def many_stacks(source, path, count):
    """The same run, whose end tells of so many stacks, and which loaded one by itself before."""
    records = lines(source)
    first = records[-1]["stacks"][0]
    esp0 = lambda task: 0xd0000000 + task * 0x2000
    records[-1]["stacks"] = [{**first, "task": task, "esp0": f"{esp0(task):08x}", "lowest": f"{esp0(task) - 20:08x}"} for task in range(1, count + 1)]
    state = {"mode": "real", "cs": "9000", "eip": "0000001b", "ss": "0000", "esp": "00000000", "linear": "00000000"}
    after = {**state, "eip": "00000020", "ss": "9000", "esp": "0000ff00", "linear": "0009ff00"}
    records.insert(1, {"type": "stack", "instruction": "mov ss", "before": state, "after": after})
    write(path, records)


def of_the_processor(source, path):
    """The same run, whose findings are the processor's."""
    records = lines(source)
    for record in records:
        for one in record.get("findings") or []:
            one["subject"] = "processor"
    write(path, records)


def by_sysenter(source, path):
    """A run that has a finding about SYSENTER alone."""
    records = lines(source)
    found = {"type": "sysenter", "after": 0, "time": 0, "task": 1, "cs": "0008", "eip": "00100344", "ss": "0010", "esp": "00000000",
             "eflags": "00000002", "verdict": "finding", "findings": [finding("sysenter", place="SYSENTER after #0", sentence="SYSENTER has loaded ESP with 0")]}
    for record in records:
        if record["type"] in ("entry", "return"):
            record["findings"], record["verdict"] = [], "ok"
    records.insert(1, found)
    write(path, [record for record in records if record["type"] != "cause"])


def virtual_8086(source, path):
    """The same run, whose first entry and its return are of a program in virtual-8086 mode; the entry's number."""
    records = lines(source)
    entry = next(one for one in records if one["type"] == "entry" and one["from_ring"] == 3)
    above = {"es": "00002001", "ds": "00002002", "fs": "00002003", "gs": "00002004"}
    start = f"{int(entry['frame']['address'], 16) - 16:08x}"
    back = next(one for one in records if one["type"] == "return" and one["frame"]["address"] == entry["frame"]["address"] and one["after"] >= entry["sequence"])
    for one in (entry, back):
        one["frame"].update(above, address=start, eflags="00030202")
    entry.update(origin="virtual-8086", esp=start)
    write(path, records)
    return entry["sequence"]


def claims(path):
    """A table as `esp0 claims --json` writes it, one of its claims out to do harm."""
    row = {"id": "H1", "subject": "The hardware", "claim": "It pushes five words", "kernel": "micro", "status": "proved", "evidence": "#1"}
    bad = {**row, "id": "H2", "claim": HOSTILE, "status": "refuted", "evidence": HOSTILE, "broken": HOSTILE}
    table = {"format": "esp0-claims", "version": 1, "authority": "tcg", "backend": "any", "claims": [row, bad]}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(table, file)


def died(source, path):
    """The same run, which ended in its handler of an entry from ring 3, with a finding about the entry before; the numbers of
    both, and ESP at the end."""
    records = lines(source)
    inner = [index for index, one in enumerate(records) if one["type"] == "entry" and one["from_ring"] == 3]
    last, named = records[inner[5]], records[inner[4]]["sequence"]
    kept = [one for one in records[:inner[5] + 1] if one["type"] != "end"]
    kept += [one for one in records[inner[5]:] if one["type"] == "detail" and one.get("entry") == last["sequence"]]
    kept += [one for one in records if one["type"] in ("code", "names")]
    esp = f"{int(last['esp0'], 16) - 0x1800:08x}"
    found = finding("ending", place=f"#{named} #GP in ring 0, at 00100251", sentence="the kernel stopped itself")
    state = {name: "00000000" for name in ("eax", "ecx", "edx", "ebx", "ebp", "esi", "edi", "eip", "eflags", "cr0", "cr2", "cr3", "cr4")}
    state |= {name: ["0010", "c093", "00000000", "ffffffff"] for name in ("es", "ss", "ds", "fs", "gs", "tr", "ldtr")}
    state |= {"esp": esp, "cs": ["0008", "c09a", "00000000", "ffffffff"], "gdtr": ["00000000", "0000"], "idtr": ["00000000", "0000"],
              "interrupt_shadow": 0, "nmi_blocked": False}
    write(path, [*kept, {**records[-1], "verdict": "guest-failed", "findings": [found], "last": {"when": "end", "state": state, "names": {}}}])
    return named, last["sequence"], esp


def with_findings(source, path, count):
    """The same run, with so many findings of different kinds, each at an entry of its own."""
    long(source, path, count * 4)
    records = lines(path)
    entries = [one for one in records if one["type"] == "entry"][::4]
    for number, one in enumerate(entries):
        word = "".join(chr(97 + number // 26 ** place % 26) for place in range(3))
        one["findings"], one["verdict"] = [finding("suspended_stack", sentence=f"something is wrong with {word}")], "finding"
    write(path, records)


def without_names(source, path):
    """The same run, whose findings are about code that has no name; where that is."""
    records = lines(source)
    for record in records:
        for place in record.get("places", []) if record["type"] == "cause" else []:
            place["name"] = place["source"] = None
            at = place["at"]
    write(path, records)
    return at


def without_end_of_stack(source, path):
    """The same run, of a kernel whose own stack is no object with a name; the number of an entry on it."""
    records = lines(source)
    inside = {one["sequence"] for one in records if one["type"] == "entry" and one["from_ring"] == 0}
    for record in records:
        if record["type"] == "detail" and record.get("entry") in inside:
            record.pop("top", None)
            record.pop("top_name", None)
    write(path, records)
    return min(number for number in inside if any(one.get("entry") == number and "stack" in one for one in records))

#!/usr/bin/env python3
"""Makes the README's pictures out of two pages. Started by scripts/pictures.

usage: pictures.py BROKEN.html MICRO.html FOLDER
"""

import sys
from pathlib import Path

from browser import Browser, find

WIDTH = 1320


def main():
    broken, micro, folder = map(Path, sys.argv[1:4])
    folder.mkdir(parents=True, exist_ok=True)
    with Browser(find()) as browser:
        browser.open(broken, width=WIDTH, height=1000)
        browser.picture(folder / "finding.webp", clip=browser.box("#findings .cause"))
        browser.open(micro, width=1400, height=1000)
        browser.value("document.querySelector('#search').value = 'int 0x80'")
        browser.value("document.querySelector('#search').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }))")
        browser.value("document.querySelector('input[value=entry]').click()")
        browser.value("new Promise((done) => setTimeout(done, 300))")
        entry = browser.box("#entry")
        figure = browser.box("#entry figure")
        browser.picture(folder / "entry.webp", clip={**entry, "height": figure["y"] + figure["height"] - entry["y"] + 8})
    for path in sorted(folder.glob("*.webp")):
        print(f"{path}: {path.stat().st_size:,} bytes")


main()

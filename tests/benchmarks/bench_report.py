"""What the report costs: rendering against judging, the page's size, and its first frame in a browser.

::

    ./lab python tests/benchmarks/bench_report.py RUN [RUN ...]

Each run folder is judged and rendered as it lies. Targets: rendering at most as long as judging; a page of a
million calls below 1.5 MB; its first frame in headless Chromium at most 0.5 s after an empty page's, the
medians of five each, whole starts of the browser included. A small run is rendered slower than it is judged.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from quotalab.report import judge_run
from quotalab.workspace import Workspace

ROOT = Path(__file__).parents[2]
TIMES = 5
MEGABYTES, SHARE, LATER_S = 1.5, 1.0, 0.5
EMPTY = "<!doctype html><html lang='en'><title>empty</title><body><p>empty</p></body></html>"


def first_frames_s(chromium: str, pages: list[str], folder: Path) -> list[float]:
    """Median seconds of a whole start of the browser until each page's first frame is taken as a picture.

    In turns, so that what else the machine does meets all pages alike.
    """
    spent: list[list[float]] = [[] for _ in pages]
    for number, page in enumerate(pages):
        (folder / f"{number}.html").write_text(page, encoding="utf-8")
    command = [
        chromium,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}/profile",
    ]
    command += ["--window-size=1280,900", f"--screenshot={folder}/frame.png"]
    for _ in range(TIMES + 1):
        for number, times in enumerate(spent):
            began = time.perf_counter()
            address = (folder / f"{number}.html").as_uri()
            subprocess.run([*command, address], capture_output=True, timeout=120, check=True)
            times.append(time.perf_counter() - began)
    return [median(times[1:]) for times in spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    for run in runs:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "run"
            shutil.copytree(run, folder)
            spent: dict[str, float] = {}
            last = time.perf_counter()

            def stage(name: str) -> None:
                nonlocal last
                now = time.perf_counter()
                spent[name], last = now - last, now  # noqa: B023 - of this round

            judge_run(folder, Workspace(ROOT, {}, ROOT), timer=stage)
            page = (folder / "report.html").read_text(encoding="utf-8")
            size = len(page.encode()) / 1e6
            drawn = (spent["figures"] + spent["html"]) / spent["judge"]
            print(f"{run.name}: judged in {spent['judge']:.2f} s, rendered in {drawn:.2f} of that")
            print(f"  {_word(drawn <= SHARE)}: at most {SHARE:g}   {_word(size < MEGABYTES)}: {size:.2f} MB")
            if chromium:
                empty, ours = first_frames_s(chromium, [EMPTY, page], Path(scratch))
                later = ours - empty
                print(
                    f"  {_word(later <= LATER_S)}: first frame {later:+.2f} s after an empty page's {empty:.2f} s"
                )


def _word(holds: bool) -> str:
    return "ok" if holds else "MISSED"


if __name__ == "__main__":
    main()

"""All pages in headless Chromium: wide and on a phone, light, dark and printed; what their script adds.

Screenshots stay in ``edgetl-pages`` in the folder for temporary files; ``EDGETL_TEST_ARTIFACTS`` names another one.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benched
import fleet_records
import numpy as np
import pytest
from PIL import Image
from programs import needs_program

from edgetl.field.page import render as render_field
from edgetl.field.summary import summarize
from edgetl.remote.deployment import BoardOutcome, Deployment
from edgetl.remote.status_page import render as render_deployment
from edgetl.reports import render
from edgetl.reports.run import render_run
from edgetl.runs.directory import Run
from edgetl_device._lib.documents import Named
from edgetl_device.bundle import BundleName

ARTIFACTS = Path(os.environ.get("EDGETL_TEST_ARTIFACTS") or Path(tempfile.gettempdir()) / "edgetl-pages")
DESKTOP, PHONE, PAPER = 1280, 390, 718
# Blink's value for prefers-color-scheme.
SCHEMES = {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}
PROBE = Path(__file__).with_name("probe.js").read_text(encoding="utf-8")

pytestmark = pytest.mark.needs_program("chromium")
Document = dict[str, Any]


def on_a_board(document: Document, slower: float = 1.0) -> None:
    """Give a result the times and temperatures of a board, and an int8 that loses one photo."""
    random = np.random.default_rng(1)
    for variant, p50_ms in (("float32", 7.1), ("int8", 2.9)):
        samples = slower * p50_ms * 1e6 * (1 + np.abs(random.normal(0, 0.05, 400)))
        benched.set_times(document, variant, [int(one) for one in samples])
    benched.set_wrong(document, "int8", [1])
    environment = document["environment"]
    environment["board"] = "Raspberry Pi 5 Model B"
    for index, state in enumerate([environment["before"], *environment["during"], environment["after"]]):
        state["temperature_c"] = 50.0 + index


def judged(status: str, reason: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        on_a_board(document)
        for run in document["runs"]:
            run["verdict"] = {"status": status, "reasons": [reason], "advice": [], "codes": []}

    return change


def bench_page(name: str, folder: Path) -> str:
    results = {
        "bench": [benched.save(folder / "tiny.json", on_a_board)],
        "bench-degraded": [
            benched.save(folder / "busy.json", judged("degraded", "other programs kept 1.3 cores busy"))
        ],
        "bench-invalid": [benched.save(folder / "hot.json", judged("invalid", "the board reports throttling"))],
        "bench-two": [
            benched.save(folder / "before.json", on_a_board),
            benched.save(folder / "after.json", lambda document: on_a_board(document, 1.2)),
        ],
    }
    return render(results[name], bundle=benched.TINY)


def run_page(name: str, request: pytest.FixtureRequest, folder: Path) -> str:
    run: Run = request.getfixturevalue("tiny_run")
    if name != "run":
        bundle: Path = request.getfixturevalue("tiny_bundle")
        run = Run.open(Path(shutil.copytree(bundle.parent, folder / "run")))
    if name == "run-refused":
        document = json.loads((run.folder / "quantize.json").read_text())
        document["candidates"] = {"judged_on": "val", "taken": None, "tried": []}
        document["variants"] = [one for one in document["variants"] if not one["name"].startswith("int8")]
        (run.folder / "quantize.json").write_text(json.dumps(document))
    return render_run(run, run.folder / "report.html")


def deployment_page() -> str:
    boards = (
        BoardOutcome("cam-01", 0, "installed", None, 0, 3.2, None),
        BoardOutcome("cam-02", 1, "refused", "the bundle is not signed by a trusted key", 2, 1.1, None),
        BoardOutcome("cam-03", 1, "not started", None, 0, 0.0, None),
    )
    producer, created = Named("edgetl", "0.1.0"), "2026-05-04T10:00:00+00:00"
    return render_deployment(Deployment(producer, created, BundleName("photos", "a" * 64), None, True, boards))


RUNS = ("run", "run-quantized", "run-refused")
BENCHES = ("bench", "bench-degraded", "bench-invalid", "bench-two")


def field_page(folder: Path) -> str:
    fleet = fleet_records.write_fleet(folder / "fleet")
    return render_field(summarize(fleet), fleet)


PAGES = (*RUNS, *BENCHES, "deployment", "field")


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name = request.param
    if name in RUNS:
        text = run_page(name, request, tmp_path)
    else:
        others = {"deployment": deployment_page, "field": lambda: field_page(tmp_path)}
        text = others.get(name, lambda: bench_page(name, tmp_path))()
    file = tmp_path / f"{name}.html"
    file.write_text(text, encoding="utf-8")
    return file


def browse(page: Path, *options: str) -> str:
    """Open a page and return its DOM; a message on the console of any page is an error."""
    command = [needs_program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr", "--force-device-scale-factor=1"]
    command += [f"--user-data-dir={page.parent / 'profile'}", *options, str(page)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def framed(page: Path, *widths: int, script: str = "") -> Path:
    """Write a page of frames, because the window of headless Chromium does not get narrower than 500 pixels."""
    frames = [
        f'<iframe src="{page.name}" width="{width}" height="900" frameborder="0" style="display:block"></iframe>'
        for width in widths
    ]
    probe = page.with_name(f"{page.stem}-{'-'.join(map(str, widths))}.html")
    body = f'<body style="margin:0">{"".join(frames)}<script>{PROBE}{script}</script></body>'
    probe.write_text(f'<!doctype html><meta charset="utf-8">{body}', encoding="utf-8")
    return probe


def looked(page: Path, *options: str) -> list[Document]:
    """Return what the probe sees, wide and on a phone."""
    dom = browse(framed(page, DESKTOP, PHONE, script="report(look)"), "--dump-dom", *options)
    found: list[Document] = json.loads(html.unescape(re.findall(r'data-found="([^"]*)"', dom)[0]))
    assert len(found) == 2
    return found


def photographed(page: Path, name: str, width: int, *options: str) -> Image.Image:
    """Keep a screenshot of the whole page."""
    probe = framed(page, width, script="report(whole)")
    (height,) = json.loads(html.unescape(re.findall(r'data-found="([^"]*)"', browse(probe, "--dump-dom"))[0]))
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    target = ARTIFACTS / f"{page.stem}-{name}.png"
    browse(probe, f"--screenshot={target}", f"--window-size={max(500, width)},{min(16_000, height)}", *options)
    with Image.open(target) as image:
        found = image.convert("RGB").crop((0, 0, width, image.height))
    found.save(target)
    return found


def contrast(one: str, other: str) -> float:
    """Return the contrast of two CSS colours (WCAG 2.1): 1 to 21."""
    shades = []
    for colour in (one, other):
        rgb = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        shades.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(shades) + 0.05) / (min(shades) + 0.05)


@pytest.mark.parametrize(
    ("page", "scheme"),
    [
        # Colours are those of one style sheet.
        pytest.param(name, scheme, marks=pytest.mark.slow if scheme == "dark" and name != "bench-degraded" else ())
        for name in PAGES
        for scheme in SCHEMES
    ],
    indirect=["page"],
)
def test_pages_fit_and_can_be_read(page: Path, scheme: str) -> None:
    # Beside its photos a page is small.
    assert len(re.sub(r"data:image/[^\"')]*", "", page.read_text(encoding="utf-8"))) < 1_000_000
    for found, width in zip(looked(page, *SCHEMES[scheme]), (DESKTOP, PHONE), strict=True):
        assert found["wide"] <= width
        assert found["touching"] == []
        assert found["dead_links"] == []
        assert found["cut"] == []
        assert found["headlines"]
        for text, ink, back in found["headlines"]:
            assert contrast(ink, back) >= 4.5, text
        # What is doubtful is never the largest type.
        assert found["largest_doubtful_px"] < found["largest_px"]
    photographed(page, f"wide-{scheme}", DESKTOP, *SCHEMES[scheme])
    seen = np.asarray(photographed(page, f"phone-{scheme}", PHONE, *SCHEMES[scheme]).convert("L"))
    # Most of a page is background.
    assert np.median(seen) > 220 if scheme == "light" else np.median(seen) < 70


@pytest.mark.parametrize(
    "page",
    [pytest.param(name, marks=() if name in ("run-quantized", "bench") else pytest.mark.slow) for name in PAGES],
    indirect=True,
)
def test_pages_print(page: Path) -> None:
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    target = ARTIFACTS / f"{page.stem}.pdf"
    browse(page, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 1 <= pages <= 12
    # A picture of what is printed, to look at.
    text = page.read_text(encoding="utf-8").replace("@media print", "@media all")
    for other in ("(prefers-color-scheme: dark)", "(max-width: 640px)"):
        text = text.replace(f"@media {other}", "@media not all")
    printed = page.with_name(f"{page.stem}-printed.html")
    printed.write_text(text, encoding="utf-8")
    photographed(printed, "print", PAPER)


def test_the_script_shows_values_zooms_and_marks_the_photos_of_a_class(tmp_path: Path) -> None:
    page = tmp_path / "used.html"
    page.write_text(bench_page("bench", tmp_path), encoding="utf-8")
    dom = browse(framed(page, DESKTOP, script="report(use)"), "--dump-dom")
    (found,) = json.loads(html.unescape(re.findall(r'data-found="([^"]*)"', dom)[0]))
    below = [re.search(r"([\d.]+) ms\n([\d.]+)% of 400 samples are below", text) for text in found["distribution"]]
    # From left to right ever more samples are below; the first run is the slower one.
    assert all(below)
    shares = [float(one[2]) for one in below if one]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] >= 99
    assert re.fullmatch(r"at [\d.]+ % of the samples\nmedian [\d.]+ ms", found["course"])
    assert re.match(r"float32: model p50 7\.\d\d ms, top-1 100\.0% \(75\.8 to 100\.0\)", found["dot"])
    assert re.match(r"model: 7\.\d{3} ms", found["bar"])
    low, high = found["axis"][0], found["axis"][-1]
    zoomed = found["zoomed_axis"]
    assert low <= zoomed[0] < zoomed[-1] <= high
    assert zoomed[-1] - zoomed[0] < high - low
    assert found["zoomed_path"] != found["path"]
    assert found["dragged_axis"] != found["axis"]
    assert found["whole_axis"] == found["axis"]
    assert found["whole_path"] == found["path"]
    # The one photo that int8 loses is a square; with another class chosen, it steps back.
    assert found["cards"] == 1
    assert found["faded"] == {"square": 0, "triangle": 1, "again": 0}
    assert "triangle: 0 of the 1 photos below." in found["said"]

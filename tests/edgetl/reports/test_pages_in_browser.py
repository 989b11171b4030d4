"""The pages in headless Chromium: light, dark, on a phone and printed. Screenshots stay in ``tests/artifacts``.

``EDGETL_TEST_ARTIFACTS`` names another folder.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import benched
import numpy as np
import pytest
from PIL import Image
from programs import needs_program

from edgetl.reports import render
from edgetl.reports.run import render_run
from edgetl.runs.directory import Run

ARTIFACTS = Path(os.environ.get("EDGETL_TEST_ARTIFACTS") or Path(__file__).parents[2] / "artifacts")
PHONE, DESKTOP = 390, 1100
# Blink's value for prefers-color-scheme.
DARK = "--blink-settings=preferredColorScheme=0"

pytestmark = pytest.mark.needs_program("chromium")


@pytest.fixture(params=["run", "bench"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / f"{request.param}.html"
    if request.param == "bench":
        html = render([benched.save(tmp_path / "tiny.json")], bundle=benched.TINY)
    else:
        run: Run = request.getfixturevalue("tiny_run")
        html = render_run(run, run.folder / "report.html")
    file.write_text(html, encoding="utf-8")
    return file


def browse(profile: Path, *options: str) -> str:
    command = [needs_program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={profile}", "--force-device-scale-factor=1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def photographed(page: Path, name: str, *options: str, width: int, height: int = 1400) -> np.ndarray:
    ARTIFACTS.mkdir(exist_ok=True)
    target = ARTIFACTS / f"{page.stem}-{name}.png"
    target.unlink(missing_ok=True)
    browse(page.parent / "profile", f"--screenshot={target}", f"--window-size={width},{height}", *options, str(page))
    with Image.open(target) as image:
        return np.asarray(image.convert("L"))


def test_light_and_dark(page: Path) -> None:
    light, dark = photographed(page, "light", width=DESKTOP), photographed(page, "dark", DARK, width=DESKTOP)
    # Most of the page is background, and its content contrasts with it, in both schemes.
    assert np.median(light) > 230
    assert np.median(dark) < 60
    for picture, ink in ((light, light < 110), (dark, dark > 160)):
        assert 0.005 < ink.mean() < 0.4, picture.shape


def test_nothing_is_wider_than_a_phone(page: Path) -> None:
    photographed(page, "phone", width=PHONE, height=3000)
    # An iframe, because the window of headless Chromium does not get narrower than 500 pixels.
    probe = page.with_name("probe.html")
    measure = "document.body.dataset.wide = this.contentDocument.documentElement.scrollWidth"
    probe.write_text(
        f'<body><iframe src="{page.name}" width="{PHONE}" height="800" frameborder="0" onload="{measure}"></iframe>'
    )
    dom = browse(page.parent / "profile", "--dump-dom", "--allow-file-access-from-files", str(probe))
    (wide,) = re.findall(r'data-wide="(\d+)"', dom)
    assert int(wide) <= PHONE


def test_it_prints(page: Path) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    target = ARTIFACTS / f"{page.stem}.pdf"
    target.unlink(missing_ok=True)
    browse(page.parent / "profile", f"--print-to-pdf={target}", "--no-pdf-header-footer", str(page))
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 1 <= pages <= 12

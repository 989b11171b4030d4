"""``edgetl report``: the page is self-contained, shows the results' numbers, and escapes untrusted text."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import benched
import numpy as np
import pytest
import small
from PIL import Image
from webpage import Page

from edgetl.reports import render
from edgetl.reports.gallery import MOST, flipped
from edgetl_device._lib.files import sha256_file
from edgetl_device.bundle import Bundle
from edgetl_device.errors import InputError
from edgetl_device.input_size import square
from edgetl_device.preprocess import Preprocess, preprocess

Document = dict[str, Any]


def changed(document: Document) -> None:
    """Let int8 lose photo 1 (a square taken for a triangle), and gain photo 3, which the float model has wrong."""
    benched.set_wrong(document, "int8", [1])
    document["evalset"]["reference"][3] = 2


def test_the_page_shows_the_result_and_needs_nothing_else(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "tiny.json", changed)
    html = render([file], bundle=benched.TINY)
    page = Page(html)
    page.assert_needs_nothing_else()
    assert page.links() == []
    for run in benched.result(changed)["runs"]:
        assert f"{run['latency_ms']['invoke']['p95']:.2f}" in page.text
        assert f"{run['peak_rss_bytes'] / 1e6:.0f}" in page.text
        assert f"{len(run['samples_ns']['invoke']):,} samples" in page.text
    assert "91.7%" in page.text
    assert "Valid: the measurement is reliable." in page.text
    assert "12 values" not in page.text


def test_changed_photos_are_shown_with_their_picture(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "tiny.json", changed)
    page = Page(render([file], bundle=benched.TINY))
    pictures = page.named("img")
    assert [one["alt"] for one in pictures] == ["01_square.jpg", "03_circle.png"]
    assert "int8: triangle" in page.text
    assert re.search(r"int8: triangle \d\.\d\d, lost", page.text)
    assert re.search(r"circle float: triangle .*int8: circle \d\.\d\d, gained", page.text)
    bundle = Bundle.open(benched.TINY)
    for one in pictures:
        data = base64.b64decode(str(one["src"]).partition(",")[2])
        shown = Image.open(io.BytesIO(data))
        original = Image.open(io.BytesIO(bundle.read(f"evalset/{one['alt']}")))
        assert max(shown.size) == 224
        assert shown.width / shown.height == pytest.approx(original.width / original.height, abs=0.02)
        small_ones = [
            preprocess(picture, Preprocess(size=square(32))).astype(int) for picture in (shown, original.convert("RGB"))
        ]
        assert np.abs(small_ones[0] - small_ones[1]).mean() < 12
    without = Page(render([file]))
    assert not without.named("img")
    assert "01_square.jpg" in without.text
    assert "--bundle" in without.text
    assert (
        "None: every variant agrees with the float model on all 12 held-out photos"
        in Page(render([benched.save(tmp_path / "same.json")])).text
    )


def test_many_changed_photos_are_counted(tmp_path: Path) -> None:
    def many(document: Document) -> None:
        evalset = document["evalset"]
        evalset["photos"] = [
            {"file": f"{index:03}.jpg", "label": 0, "sha256": f"{index:064x}"} for index in range(MOST + 5)
        ]
        evalset["reference"] = [0] * (MOST + 5)
        for run in document["runs"]:
            run["answers"]["probability"] = [0.5] * (MOST + 5)
            benched.set_wrong(document, run["variant"], range(MOST + 5))

    gallery = flipped(benched.typed(many), None)
    assert (len(gallery.cards), gallery.more) == (MOST, 5)
    assert [one.variant for one in gallery.cards[0].predictions] == ["float32", "int8"]
    assert "And 5 more." in Page(render([benched.save(tmp_path / "many.json", many)])).text


def test_lost_photos_come_first() -> None:
    def change(document: Document) -> None:
        changed(document)
        document["evalset"]["reference"][0] = 2  # gained: int8 is right
        document["evalset"]["reference"][1] = 0  # changed: both are wrong
        benched.set_wrong(document, "float32", [1, 5])  # 5: lost

    assert [(card.kind, card.file[:2]) for card in flipped(benched.typed(change), None).cards] == [
        ("lost", "05"), ("gained", "00"), ("gained", "03"), ("changed", "01"),
    ]  # fmt: skip


def test_classes_show_what_they_lost(tmp_path: Path) -> None:
    text = Page(render([benched.save(tmp_path / "tiny.json", changed)])).text
    # The float model gets three of four circles right, int8 three of four squares.
    assert re.search(r"square 4 4 4 -25\.0 pp 3", text)
    assert re.search(r"circle 4 3 \+25\.0 pp 4 \+25\.0 pp 4", text)
    assert text.index("square 4 4") < text.index("circle 4 3")


def test_what_others_wrote_is_text(tmp_path: Path) -> None:
    def hostile(document: Document) -> None:
        document["bundle"]["name"] = "<script>alert(1)</script>"
        document["bundle"]["labels"][1] = '"><img src=x onerror=alert(1)>'
        document["evalset"]["photos"][1]["file"] = "<b>bold</b>.jpg"
        document["environment"]["board"] = "<i>board</i>"
        document["environment"]["governor"] = {"unknown": "<u>why</u>"}
        document["runs"][0]["verdict"] = {"status": "degraded", "reasons": ["<s>reason</s>"]}
        changed(document)

    page = Page(render([benched.save(tmp_path / "tiny.json", hostile)]))
    page.assert_needs_nothing_else()  # so of the scripts there is only edgetl's
    assert not {"img", "b.jpg", "u", "s"} & {tag for tag, _ in page.tags}
    for said in ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<b>bold</b>.jpg", "<u>why</u>"):
        assert said in page.text
    assert "<s>reason</s> (float32, 1 thread)" in page.text


def test_verdicts_and_what_is_unknown_are_said(tmp_path: Path) -> None:
    def change(document: Document) -> None:
        document["environment"]["board"] = {"unknown": "nobody says"}
        document["runs"][0]["verdict"] = {"status": "invalid", "reasons": ["the board reports throttling"]}
        document["runs"][1]["agreement"] = {"unknown": "there is no reference for these photos"}
        document["runs"][1]["peak_rss_bytes"] = {"unknown": "no /proc"}
        document["skipped"] = [{"variant": "int8-onnx", "why": "onnxruntime is not installed"}]
        document["environment"]["delegate"] = {
            "name": "edgetpu",
            "library": "libedgetpu.so.1",
            "options": {},
            "version": "14",
        }

    html = render([benched.save(tmp_path / "tiny.json", change)])
    text = Page(html).text
    assert "Invalid: some times are meaningless; measure again." in text
    assert "the board reports throttling (float32, 1 thread)" in text
    assert "Board: nobody says" in text
    assert "Delegate edgetpu (libedgetpu.so.1)" in text
    assert "Variant int8-onnx: onnxruntime is not installed" in text
    assert 'title="no /proc">unknown' in html
    # The figures are not of the fastest run, which is invalid.
    assert re.search(r'<dl class="figures">\s*<div><dt>int8, model, p\d\d</dt>', html)
    assert text.index("int8-onnx was not measured: onnxruntime is not installed") < text.index("Side by side")


def test_temperature_is_drawn_where_it_is_known(tmp_path: Path) -> None:
    def warm(document: Document) -> None:
        environment = document["environment"]
        for index, state in enumerate([environment["before"], *environment["during"], environment["after"]]):
            state["temperature_c"] = 50.0 + index

    assert "Temperature 50 to 55 °C in" in Page(render([benched.save(tmp_path / "warm.json", warm)])).text

    def unknown(document: Document) -> None:
        environment = document["environment"]
        for state in [environment["before"], *environment["during"], environment["after"]]:
            state["temperature_c"] = {"unknown": "no sensor"}

    text = Page(render([benched.save(tmp_path / "plain.json", unknown)])).text
    assert "Temperature 5" not in text
    assert "Temperature at the end, °C: no sensor" in text


def test_several_results_are_compared_or_told_apart(tmp_path: Path) -> None:
    one, two = benched.save(tmp_path / "one.json"), benched.save(tmp_path / "two.json")
    page = Page(render([one, two]))
    assert page.text.index("no difference that this data can show") < page.text.index("Valid: ")
    assert "Comparison" in page.text
    assert "no difference that this data can show" in page.text
    numbers = [int(part) for part in re.findall(r'"number k\d">(\d+)<', render([one, two]))]
    assert set(numbers) == {1, 2, 3, 4}
    other = benched.save(tmp_path / "other.json", lambda d: d["bundle"]["preprocess"].update(size=64))
    assert "one and other cannot be compared: different preprocessing" in Page(render([one, other])).text


def test_the_command(tmp_path: Path) -> None:
    file, out = benched.save(tmp_path / "tiny.json", changed), tmp_path / "deep" / "page.html"
    done = small.edgetl("report", file, "-o", out, "--bundle", benched.TINY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out} ({out.stat().st_size / 1000:.0f} KB)\n"
    assert out.read_text().startswith("<!doctype html>")
    before = sha256_file(out)
    strange = benched.save(
        tmp_path / "strange.json", lambda document: document["evalset"]["photos"][0].update(sha256="0" * 64)
    )
    for arguments, said in (
        ((strange, "--bundle", benched.TINY), "its held-out photos are not those of"),
        ((tmp_path / "none.json",), "none.json"),
        ((file, "--bundle", tmp_path), "not a bundle"),
    ):
        assert said in small.refused(small.edgetl("report", *arguments, "-o", out))
        assert sha256_file(out) == before
    assert small.left_over(out.parent) == []
    with pytest.raises(InputError):
        render([tmp_path / "none.json"])


def test_without_jinja_the_extra_is_named(tmp_path: Path) -> None:
    file = benched.save(tmp_path / "tiny.json")
    done = small.python(f"""
import sys
sys.modules["jinja2"] = None
sys.argv = ["edgetl", "report", {str(file)!r}, "-o", {str(tmp_path / "page.html")!r}]
from edgetl.cli import main
main()
""")
    assert "'.[report]'" in small.refused(done, 4)
    assert not (tmp_path / "page.html").exists()

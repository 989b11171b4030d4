"""Labels in the metadata of ONNX files, as exporters write them."""

from __future__ import annotations

from typing import Any

import foreign
import onnx
import pytest

from edgetl.importing.scan import Refusal


def _model(properties: dict[str, str]) -> Any:
    net = foreign.Onnx()
    model = net.model(net.head(net.conv("pixels", 3, 4), 4, 3))
    onnx.helper.set_model_props(model, properties)
    return model


@pytest.mark.parametrize(
    ("name", "text", "labels"),
    [
        ("names", "{0: 'cat', 1: 'dog', 2: \"guinea pig\"}", ("cat", "dog", "guinea pig")),
        ("id2label", '{"2": "c", "0": "a", "1": "b"}', ("a", "b", "c")),
        ("labels", '["a, or b", "c", "d"]', ("a, or b", "c", "d")),
        ("classes", "('a', 'b', 'c')", ("a", "b", "c")),
        ("class_names", "a\nb, or c\nd\n", ("a", "b, or c", "d")),
        ("labels", "a, b,c", ("a", "b", "c")),
        ("labels", "[a, b, c", ("[a", "b", "c")),
        ("labels", "  ", ()),
        ("author", "a,b,c", ()),
        ("labels", "[__import__('os').abort(), 'b']", ("[__import__('os').abort()", "'b']")),
        ("labels", "[" * 100_000, ("[" * 100_000,)),
    ],
)
def test_labels_are_read_as_they_are_written(name: str, text: str, labels: tuple[str, ...]) -> None:
    assert foreign.scan_onnx(_model({name: text, "version": "1"})).scan.labels == labels


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{0: 'a', 1: 'b', 3: 'c'}", "not numbered from 0 to 2"),
        ("{'cat': 0, 'dog': 1}", "not numbered from 0 to 1"),
        ("a" * (1 << 20) + "b", "over 1 MB"),
    ],
)
def test_labels_without_an_order_are_refused(text: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        foreign.scan_onnx(_model({"names": text}))

"""What is no model that can be imported: exit code 2, what, why, what to do, and nothing half-written."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import foreign
import h5py
import numpy as np
import onnx
import onnx.reference
import pytest
import small
from foreign import Onnx

import edgetl
from edgetl.importing.labels import read_labels, resolved
from edgetl.importing.options import INPUT_NAMES
from edgetl.importing.scan import Refusal, scan_here, scanned
from edgetl.importing.source import open_source
from edgetl_device.errors import InputError, OptionError
from edgetl_device.input_size import square


def _zip(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return data.getvalue()


def _file(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize(
    ("name", "data", "what", "hint"),
    [
        ("a.pt", _zip(archive__data_dot_pkl=b"."), "pickle of PyTorch", "torch.onnx.export"),
        ("a.pth", b"\x80\x02}q\x01.", "pickle of PyTorch", "torch.onnx.export"),
        ("a.safetensors", b"\x10\0\0\0", "weights or a pickle of PyTorch", "torch.onnx.export"),
        ("a.pb", b"\x0a\x01", "a graph of TensorFlow", "import the folder"),
        ("a.keras", b"not a zip", "is not a Keras file", "damaged"),
        ("a.keras", b"PK\x03\x04 cut off", "damaged zip", "Copy it again"),
        ("a.keras", _zip(a_dot_txt=b""), "not a Keras model", ""),
        ("a.h5", b"\x89HDX", "is not a Keras file", "damaged"),
        ("a.onnx", b"", "is empty", "Copy it again"),
        ("a.model", b"\x08\x08", "in no known format", ".onnx"),
    ],
)  # fmt: skip
def test_other_formats_are_named(tmp_path: Path, name: str, data: bytes, what: str, hint: str) -> None:
    with pytest.raises(InputError, match=what) as refused:
        open_source(_file(tmp_path, name, data))
    assert hint in refused.value.hint


def _typed(model: onnx.ModelProto, kind: int) -> onnx.ModelProto:
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


def _plain(**options: Any) -> onnx.ModelProto:
    model = Onnx(**options)
    return model.model(model.head(model.conv("pixels", options.get("channels", 3), 4), 4))


def _many_outputs() -> onnx.ModelProto:
    model = Onnx()
    return model.model(*(model.head(model.conv("pixels", 3, 4), 4) for _ in range(4)))


def _external(location: str) -> onnx.ModelProto:
    model = _plain()
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location)
    model.graph.initializer[0].ClearField("raw_data")
    return model


def _one_value() -> tuple[onnx.TensorProto, onnx.TensorProto]:
    return (
        onnx.numpy_helper.from_array(np.array([2], np.float32), "sparse"),
        onnx.numpy_helper.from_array(np.array([0], np.int64), "places"),
    )


def _sparse() -> onnx.ModelProto:
    model = _plain()
    values, places = _one_value()
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, places, [4]))
    return model


def _sparse_elsewhere() -> onnx.ModelProto:
    model = _sparse()
    onnx.external_data_helper.set_external_data(model.graph.sparse_initializer[0].values, "/etc/passwd")
    return model


def _sparse_constant() -> onnx.ModelProto:
    model = Onnx()
    values, places = _one_value()
    constant = model.add("Constant", sparse_value=onnx.helper.make_sparse_tensor(values, places, [4]))
    return model.model(model.add("Add", model.head(model.conv("pixels", 3, 4), 4), constant))


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (_many_outputs, "it has 1 inputs and 4 outputs"),
        (lambda: _typed(_plain(), onnx.TensorProto.DOUBLE), "its input is double, not float32"),
        (lambda: _typed(_plain(), onnx.TensorProto.FLOAT16), "its input is float16, not float32"),
        (lambda: _plain(size="side"), r"its input has shape \[1, 3, \?, \?\]: it takes any size"),
        (lambda: _plain(size=90000), "its input is 90000 x 90000; edgetl takes 16 x 16 to 2048 x 2048"),
        (lambda: _plain(width=8), "its input is 32 x 8; edgetl takes 16 x 16 to 2048 x 2048"),
        (lambda: _plain(channels=4), r"its input has shape \[1, 4, 32, 32\]; a photo is"),
        (lambda: _plain(opset=3), "it has opset 3; edgetl reads 9 to 23"),
        (lambda: _external("model.onnx.data"), "its weights are in model.onnx.data, which is not there"),
        (lambda: _external("../weights"), "its weights are in '../weights'"),
        (lambda: _external("/etc/passwd"), "its weights are in '/etc/passwd'"),
        (_sparse, "it has sparse weights"),
        (_sparse_elsewhere, "it has sparse weights"),
        (_sparse_constant, "it has sparse weights"),
    ],
    ids=[
        "outputs",
        "float64",
        "float16",
        "any-size",
        "huge",
        "narrow",
        "four-channels",
        "opset",
        "external",
        "outside",
        "absolute",
        "sparse",
        "sparse-elsewhere",
        "sparse-constant",
    ],
)
def test_an_onnx_file_that_is_no_classifier_says_why(build: Any, why: str) -> None:
    with pytest.raises(Refusal, match=why) as refused:
        foreign.scan_onnx(build())
    assert " || " in str(refused.value) or "32 x 8" in why


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    whole, path = _plain(), tmp_path / "theirs.onnx"
    onnx.save(_plain(), path, save_as_external_data=True, location="theirs.data", size_threshold=0)
    assert (tmp_path / "theirs.data").stat().st_size >= 4 * (4 * 3 * 9 + 4 * 4)
    found = scan_here(path.read_bytes(), "onnx", tmp_path, None)
    assert found.scan.external == ("theirs.data",)
    given = {"pixels": np.ones((1, 3, 32, 32), np.float32)}
    one, other = (onnx.reference.ReferenceEvaluator(m).run(None, given)[0]
                  for m in (whole, onnx.load_from_string(found.whole)))  # fmt: skip
    np.testing.assert_array_equal(one, other)
    (tmp_path / "theirs.data").rename(tmp_path / "elsewhere")
    (tmp_path / "theirs.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refusal, match=r"its weights are in 'theirs\.data'"):
        scan_here(path.read_bytes(), "onnx", tmp_path, None)


def test_the_size_of_a_model_that_takes_any_is_given() -> None:
    model = _plain(size="side", batch="n")
    found = foreign.scan_onnx(model, size=square(40))
    assert (found.scan.size, found.scan.batch, found.scan.layout) == (square(40), True, "nchw")
    with pytest.raises(Refusal, match="not --size 40"):
        foreign.scan_onnx(_plain(), size=square(40))


def test_the_name_of_the_producer_is_bounded_and_escaped() -> None:
    model = _plain()
    model.producer_name, model.producer_version = "evil\x1b[2J\n" + "x" * 100_000, "1"
    producer = foreign.scan_onnx(model).scan.producer
    assert producer.startswith("evil\\x1b[2J xxx")
    assert len(producer) < 200


def _h5(write: Any) -> bytes:
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        write(file)
    return data.getvalue()


def _link(file: Any) -> None:
    file.attrs["model_config"] = "{}"
    file["weights"] = h5py.ExternalLink("/etc/passwd", "/")


def _not_finite(file: Any) -> None:
    file.attrs["model_config"] = "{}"
    file["weights"] = np.array([1, np.nan], np.float32)


def _declared(file: Any) -> None:
    """600 MB that are nowhere stored."""
    file.attrs["model_config"] = "{}"
    file.create_dataset("weights", (300_000_000,), "f2", chunks=(1 << 20,))


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (_declared, "its weights are far larger than the file"),
        (lambda file: file.create_group("weights"), "it has weights, but no architecture"),
        (_link, "is a link to another file"),
        (_not_finite, "/weights has NaN or infinite weights"),
    ],
    ids=["declared", "no-architecture", "link", "nan"],
)
def test_an_h5_file_that_is_no_model_says_why(write: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        scan_here(_h5(write), "h5", Path(), 0)


def test_a_keras_file_without_weights_is_refused() -> None:
    with pytest.raises(Refusal, match=r"no model\.weights\.h5"):
        scan_here(_zip(config_dot_json=b"{}"), "keras", Path(), 0)


def test_a_damaged_file_is_refused_by_the_child_process(tmp_path: Path) -> None:
    data = _plain().SerializeToString()
    path = _file(tmp_path, "theirs.onnx", data[: len(data) // 2])
    with pytest.raises(InputError, match=r"theirs\.onnx: cannot be imported") as refused:
        scanned(open_source(path))
    assert refused.value.why == "it is not a valid ONNX file"
    assert refused.value.hint == "It is truncated or damaged; copy it again."


def test_a_refused_import_writes_nothing(tmp_path: Path, tiny_photos: Path) -> None:
    path = _file(tmp_path, "theirs.pt", b"\x80\x02}.")
    done = small.edgetl("import", path, "--data", tiny_photos, "--out", tmp_path / "runs" / "theirs", cwd=tmp_path)
    assert "pickle of PyTorch" in small.refused(done)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["theirs.pt"]


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"a\n\nb\n", "line 2 is empty"), (b"a\nb\na\n", "a is there twice"), (b"\xff\xfe", "is not UTF-8 text")],
)
def test_labels_are_checked(tmp_path: Path, text: bytes, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        read_labels(_file(tmp_path, "labels.txt", text))
    with pytest.raises(OptionError, match="no such file"):
        read_labels(tmp_path / "none.txt")


def test_labels_fit_outputs_and_photos(tmp_path: Path) -> None:
    path = _file(tmp_path, "labels.txt", "\ufeffröd\r\nblå \nvit\n\n".encode())
    where: dict[str, Any] = {"shown": "theirs.onnx", "data": Path("photos")}
    assert resolved(str(path), ["blå", "vit"], outputs=3, **where) == ("röd", "blå", "vit")
    assert resolved(None, ["blå", "vit"], outputs=2, **where) == ("blå", "vit")
    assert resolved(None, ["vit"], of_model=["röd", "vit"], outputs=2, **where) == ("röd", "vit")
    with pytest.raises(OptionError, match=r"has 2 classes; its metadata has 3 labels"):
        resolved(None, ["vit"], of_model=["röd", "blå", "vit"], outputs=2, **where)
    with pytest.raises(OptionError, match=r"theirs\.onnx: its labels: vit is there twice"):
        resolved(None, ["vit"], of_model=["vit", "vit"], outputs=2, **where)
    with pytest.raises(OptionError, match=r"has 1000 classes; the photos in photos have 2 classes"):
        resolved(None, ["blå", "vit"], outputs=1000, **where)
    with pytest.raises(OptionError, match=r"has 4 classes; .*labels\.txt has 3 labels"):
        resolved(str(path), ["blå"], outputs=4, **where)
    with pytest.raises(OptionError, match="photos of gul, not among the labels"):
        resolved(str(path), ["blå", "gul"], outputs=3, **where)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"mean": "0.5"}, "mean=.* without std"),
        ({"mean": "0.5,0.5", "std": "0.2"}, "one number, or one for each"),
        ({"mean": "127", "std": "127"}, "must be 0 to 1"),
        ({"mean": "0.5", "std": "0"}, "must be over 0 to 1"),
        ({"mean": "a", "std": "1"}, "must be numbers"),
        ({"mean": "0.5", "std": "0.5", "input": "caffe"}, "input='caffe' with mean"),
        ({"bgr": True}, "bgr=True without mean and std"),
        ({"val": 0.5, "test": 0.5}, "nothing is left"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], what: str) -> None:
    with pytest.raises(OptionError, match=what):
        edgetl.ImportOptions(**options)


def test_the_names_of_inputs_are_those_that_are_tried() -> None:
    from edgetl.importing.inputs import CONVENTIONS

    assert tuple(CONVENTIONS) == INPUT_NAMES

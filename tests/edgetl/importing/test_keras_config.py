"""Keras files are checked before Keras reads them: no code runs, and no more memory is taken than the file states."""

from __future__ import annotations

import json
import resource
import zipfile
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest

import edgetl
from edgetl._lib.extras import keras
from edgetl.importing import keras_graph, pipeline
from edgetl.importing.keras_config import check_config, prepared
from edgetl.importing.options import ImportOptions
from edgetl_device.errors import InputError

SHAPE = (foreign.SIZE, foreign.SIZE, 3)
SHOWN = Path("theirs.keras")


def _model(*last: Any) -> Any:
    k = keras().layers
    inner = [k.Conv2D(8, 3, name="conv"), k.BatchNormalization(), k.ReLU(), k.GlobalAveragePooling2D(), *last]
    return foreign.randomized(keras().Sequential([k.Input(SHAPE), *inner]))


def test_settings_of_keras_2_are_left_out() -> None:
    def config(**settings: Any) -> dict[str, Any]:
        return {
            "class_name": "Functional",
            "config": {"layers": [{"class_name": "DepthwiseConv2D", "config": settings}]},
        }

    kept = {"name": "depthwise", "kernel_size": [3, 3], "depthwise_initializer": "ones"}
    old = config(groups=1, kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}}, **kept)
    assert json.loads(prepared(json.dumps(old))) == config(**kept)
    mixed = config(name="d", dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}})
    assert json.loads(prepared(json.dumps(mixed))) == config(name="d", dtype="float32")
    norm = {"class_name": "BatchNormalization", "config": {"axis": [3], "name": "bn"}}
    assert json.loads(prepared(json.dumps([norm])))[0]["config"] == {"axis": 3, "name": "bn"}


def _config(**layer: Any) -> str:
    """Return the configuration of a model with one odd layer, as Keras 3 writes it."""
    usual = {"module": "keras.layers", "class_name": "ReLU", "config": {"name": "fine"}, "registered_name": None}
    layers = [usual, {"module": "keras.layers", "config": {"name": "odd"}, "registered_name": None} | layer]
    return json.dumps({"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": layers}})


def _function(**fields: Any) -> str:
    return _config(class_name="Activation", config={"name": "odd", "activation": {"class_name": "function"} | fields})


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (_config(class_name="Lambda"), "layer 'odd' is a Lambda"),
        (_config(class_name="TFOpLambda"), "layer 'odd' is a TFOpLambda"),
        (_config(class_name="ReLU", config={"name": "odd", "f": {"class_name": "__lambda__"}}), "is a __lambda__"),
        (_config(class_name="Swish", registered_name="Custom>Swish", module=None), "layer 'odd' is a custom Swish"),
        (_config(class_name="ReLU", registered_name="theirs>ReLU"), "layer 'odd' is a custom ReLU"),
        (_config(class_name="ReLU", registered_name="keras_evil>ReLU"), "layer 'odd' is a custom ReLU"),
        (_config(class_name="ReLU", module="their.code"), "layer 'odd' is a custom ReLU"),
        (_config(class_name="ReLU", module="keras_evil"), "layer 'odd' is a custom ReLU"),
        (_config(class_name="ReLU", module="builtins"), "layer 'odd' is a custom ReLU"),
        (_config(class_name="ReLU", module=["keras"]), "layer 'odd' is a custom ReLU"),
        (_config(class_name="src.utils.file_utils.get_file", module="keras"), "layer 'odd' is a src.utils.file_utils"),
        (_config(class_name="get_file", module="keras.utils"), "layer 'odd' is a get_file, which edgetl cannot import"),
        (_config(class_name="TorchModuleWrapper"), "layer 'odd' is a TorchModuleWrapper, which"),
        (_config(class_name="__typespec__", spec_name="os"), "layer 'odd' is a __typespec__, which"),
        (_config(class_name=["ReLU"]), "the architecture is damaged"),
        (_function(config="theirs", module="builtins"), "layer 'odd' has the custom function 'theirs'"),
        (_function(config="system", module="os"), "layer 'odd' has the custom function 'system'"),
        (_function(config="relu", module="os"), "layer 'odd' has the custom function 'relu'"),
        (json.dumps({"class_name": "Dense", "config": {"units": 3, "name": "d"}}), "is a Dense, not a model"),
        (json.dumps({"class_name": "Adam", "config": {"name": "adam"}, "module": "keras.optimizers"}), "is a Adam"),
        (json.dumps({"class_name": "Sequential"}), "its architecture is damaged"),
        ("[1]", "its architecture is damaged"),
        ("{", "its architecture is damaged"),
        ("[" * 5000 + "]" * 5000, "damaged|too deeply"),
    ],
)
def test_what_is_not_known_is_refused_by_the_name_of_its_layer(config: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        check_config(config, SHOWN)


def test_how_a_model_was_compiled_is_left_out() -> None:
    compiled: Any = {"class_name": "function", "config": "theirs", "module": "their.code"}
    for _ in range(400):
        compiled = {"loss": compiled}
    model = json.loads(_config(class_name="ReLU")) | {"compile_config": compiled}
    check_config(json.dumps(model), SHOWN)
    assert json.loads(prepared(json.dumps(model))) == model | {"compile_config": None}


def test_what_keras_itself_writes_passes() -> None:
    check_config(_config(class_name="ReLU"), SHOWN)
    check_config(_function(config="relu6", module="builtins", registered_name="function"), SHOWN)
    k = keras().layers
    decay = keras().regularizers.L2(1e-4)
    model = _model(k.Dense(8, "gelu", kernel_regularizer=decay, kernel_initializer="he_normal"), k.Dense(3, "softmax"))
    model.compile("adam", "categorical_crossentropy")
    check_config(json.dumps(keras().saving.serialize_keras_object(model)), SHOWN)
    pixels = k.Input(SHAPE)
    whole = keras().Model(pixels, keras().ops.relu(model(pixels)[..., :2] * 2.0))
    check_config(json.dumps(keras().saving.serialize_keras_object(whole)), SHOWN)


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_code_in_a_file_never_runs(tmp_path: Path, tiny_photos: Path, name: str) -> None:
    marker = tmp_path / "marker"
    k = keras().layers
    code = k.Lambda(eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]"), SHAPE, name="odd")
    model = keras().Sequential([k.Input(SHAPE), code, k.Flatten(), k.Dense(3)])
    (tmp_path / "in").mkdir()
    model.save(tmp_path / "in" / name)
    marker.unlink(missing_ok=True)
    loaded = keras().saving.load_model(tmp_path / "in" / name, safe_mode=False, compile=False)
    loaded.predict_on_batch(np.zeros((1, *SHAPE), np.float32))
    assert marker.exists()  # it would run
    marker.unlink()
    with pytest.raises(InputError, match="layer 'odd' is a Lambda"):
        edgetl.import_model(tmp_path / "in" / name, tiny_photos, out=tmp_path / "run")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["in"]


def _rewritten(path: Path, *changes: tuple[str, str]) -> Path:
    """Change the text of the architecture in a file."""
    changed = path.with_name(f"changed{path.suffix}")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(changed, "w") as written:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "config.json":
                for old, new in changes:
                    assert old.encode() in data
                    data = data.replace(old.encode(), new.encode())
            written.writestr(name, data)
    return changed


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_a_file_becomes_a_network_that_equals_it(tmp_path: Path, name: str) -> None:
    model = _model(keras().layers.Dense(3, "softmax"))
    model.compile("adam", "categorical_crossentropy")
    model.save(tmp_path / name)
    loaded = pipeline.load(tmp_path / name, ImportOptions())
    given = foreign.pixels().astype(np.float32) / 255
    np.testing.assert_allclose(loaded.original.outputs(given), model.predict_on_batch(given), atol=1e-6)
    assert loaded.original.runtime == f"keras {keras().__version__}"


def test_an_architecture_of_more_weights_than_its_file_takes_no_memory(tmp_path: Path) -> None:
    k = keras().layers
    path = tmp_path / "theirs.keras"
    _model(k.Dense(7, name="wide"), k.Dense(9, name="wider"), k.Dense(3)).save(path)
    wide, wider = ('"units": 7', '"units": 60000'), ('"units": 9', '"units": 50000')
    # Keras also writes what each layer was built for.
    changed = _rewritten(path, wide, wider, ("[null, 7]", "[null, 60000]"), ("[null, 9]", "[null, 50000]"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"changed\.keras: has [\d,]+ weights for an architecture of 3,0") as refused:
        pipeline.load(changed, ImportOptions())
    assert "save the whole model again" in refused.value.hint
    # 12 GB, if it were built.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6
    # Nothing is left of it: Keras would make these variables later.
    with keras().StatelessScope():
        pass


def test_a_small_file_cannot_ask_for_huge_feature_maps(tmp_path: Path) -> None:
    k = keras().layers
    model = keras().Sequential([k.Input(SHAPE), k.UpSampling2D(2, name="up"), k.Conv2D(4, 3), k.Flatten(), k.Dense(3)])
    pixels = k.Input(SHAPE)
    large = k.GlobalAveragePooling2D()(k.UpSampling2D(1000, name="up")(pixels))
    with pytest.raises(InputError, match=r"layer 'up' puts out 12\.3 GB a photo"):
        keras_graph.flat_network(keras().Model(pixels, k.Dense(3)(large)), size=None, shown=SHOWN)
    keras_graph.flat_network(model, size=None, shown=SHOWN)


@pytest.mark.parametrize("name", ["theirs.keras", "theirs.h5"])
def test_mixed_precision_is_imported_in_float32(tmp_path: Path, name: str) -> None:
    k, mixed = keras().layers, {"dtype": "mixed_float16"}
    inner = [k.Conv2D(8, 3, **mixed), k.BatchNormalization(**mixed), k.ReLU(**mixed), k.GlobalAveragePooling2D(**mixed)]
    model = foreign.randomized(keras().Sequential([k.Input(SHAPE), *inner, k.Dense(3, "softmax")]))
    assert model.layers[0].compute_dtype == "float16"
    model.save(tmp_path / name)
    loaded = pipeline.load(tmp_path / name, ImportOptions())
    assert loaded.original.runtime.endswith("in float32 instead of mixed_float16")
    given = foreign.pixels().astype(np.float32) / 255
    theirs = loaded.original.outputs(given)
    assert theirs.dtype == np.float32
    np.testing.assert_allclose(loaded.network.predict_on_batch(given), theirs, atol=1e-6)
    np.testing.assert_allclose(theirs, model.predict_on_batch(given), atol=5e-3)


def test_half_precision_and_quantized_models_are_refused_by_name(tmp_path: Path) -> None:
    k = keras().layers
    model = keras().Sequential([k.Input(SHAPE), k.Flatten(), k.Dense(3, name="odd", dtype="float16")])
    model.save(tmp_path / "half.keras")
    with pytest.raises(InputError, match="layer 'odd' has float16 weights"):
        pipeline.load(tmp_path / "half.keras", ImportOptions())
    model = _model(k.Dense(3, name="odd"))
    model.quantize("int8")
    model.save(tmp_path / "int8.keras")
    with pytest.raises(InputError, match="layer 'odd' is quantized by Keras") as refused:
        pipeline.load(tmp_path / "int8.keras", ImportOptions())
    assert "before model.quantize()" in refused.value.hint


@pytest.mark.parametrize("top", ["dense", "optimizer"])
def test_an_object_that_is_no_model_is_refused(tmp_path: Path, top: str) -> None:
    path = tmp_path / "theirs.keras"
    _model(keras().layers.Dense(3)).save(path)
    made = keras().layers.Dense(3) if top == "dense" else keras().optimizers.Adam()
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    changed = _rewritten(path, (config, json.dumps(keras().saving.serialize_keras_object(made))))
    with pytest.raises(InputError, match=r"is a (Dense, not a model|Adam)"):
        pipeline.load(changed, ImportOptions())

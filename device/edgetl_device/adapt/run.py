"""Teach a bundle a class from a few photos: a new last layer, written as a new bundle with its own proof.

On a board or a workstation, with NumPy and one TFLite runtime. docs/guides/adapt.md says what it does and measures.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgetl_device import __version__
from edgetl_device._lib.documents import Named, Unknown
from edgetl_device._lib.files import check_writable, sha256_bytes
from edgetl_device._lib.times import created
from edgetl_device.bench.accuracy import TOP, accepted_of, accuracy_of, paired_drop, score, top5
from edgetl_device.bundle import Bundle, BundleName, Variant
from edgetl_device.errors import InputError, OptionError
from edgetl_device.preprocess import Pixels, preprocess
from edgetl_device.runtime import Runtime, TensorSpec, check_probabilities, open_runtime
from edgetl_device.runtime.trial_run import check_model
from edgetl_device.scores import Accuracy
from edgetl_device.storage import damaged
from edgetl_device.text import normal, shown, why_no_label
from edgetl_device.unknown import Accepted, FeatureBank, UnknownVariant

from .bank import directions, grown
from .dense_layer import Dense, change_row, read_dense
from .head import FEWEST_ROWS, Examples, changed_row, new_row
from .options import HOW, AdaptOptions
from .photos import Given, digest_of, read_given
from .result import Adapted, AdaptedUnknown, AdaptedVariant, BeforeAfter, Dropped, PhotosUsed, Teaching
from .writing import NewBundle, NewVariant, write

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Say = Callable[[str], None]

_FORMAT, _PRECISIONS = "tflite", ("float32", "int8")
# The highest logit of the class that an int8 file can hold, as a multiple of the highest seen.
_HEADROOM = 1.2
# Photos on which a new float32 file is held against NumPy, and how close its probabilities must come.
_CHECKED, _CLOSE = 4, 1e-3


@dataclass(frozen=True, eq=False)
class _Outputs:
    """What a variant gives for some photos.

    Attributes:
        inputs: Inputs of its last layer, float32 [n, C].
        pooled: Its pooled features, float32 [n, features].
        probabilities: float32 [n, classes].
    """

    inputs: Floats
    pooled: Floats
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class _Taught:
    """A variant before the class is taught, and what it gives.

    Attributes:
        variant: The variant.
        model: Its file.
        dense: Its last layer.
        shots: Outputs for the shots and their mirror images; empty for all variants but the first.
        held_out: Outputs for the held-out photos: those of the bundle, then the new ones.
        unknown: Outputs for the unknown photos in the bundle.
    """

    variant: Variant
    model: bytes
    dense: Dense
    shots: _Outputs
    held_out: _Outputs
    unknown: _Outputs


@dataclass(frozen=True, eq=False)
class _Row:
    """A row of the last layer.

    Attributes:
        index: Its place: the index of the class.
        weights: float32 [C].
        bias: Its bias.
        highest: The highest logit to expect.
    """

    index: int
    weights: Floats
    bias: float
    highest: float


@dataclass(frozen=True, eq=False)
class _Proof:
    """The held-out photos.

    Attributes:
        pixels: uint8 [H, W, C] each: the photos of the bundle, then those of the class.
        truth: int64 [n], the index of each photo's class.
        old: Number of the photos of the bundle.
    """

    pixels: Sequence[Pixels]
    truth: npt.NDArray[np.int64]
    old: int


def adapt(
    bundle: Bundle | str | os.PathLike[str],
    photos: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: AdaptOptions,
    *,
    prefer: str | None = None,
    say: Say | None = None,
) -> Adapted:
    """Teach a bundle a class, or more of a class that it has, and write the result as a new bundle.

    Args:
        bundle: A bundle of ``edgetl quantize --unknown``, whose files have outputs of features.
        photos: Photos of the class: a folder, or a pattern.
        out: The new bundle, which must not exist: a folder, or a file that ends in ``.edgetl``.
        options: The class, and how much the others may lose.
        prefer: For TFLite variants, require ``ai-edge-litert`` or ``tflite-runtime``.
        say: Called with one line for each step, and for whatever is left out; None is silent.

    Returns:
        What was measured. If a variant lost more than allowed, its outcome is ``refused`` and nothing was written:
        :func:`.result.raise_refused` makes an error of it.

    Raises:
        InputError: The bundle has no outputs of features, the class or the photos do not fit, or ``out`` exists.
        Unavailable: There is no runtime for the bundle's variants.
    """
    started = time.perf_counter()
    say = say or _silent
    source = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    target = Path(out)
    _check_target(target, source)
    index, label = _class_of(source, options)
    kept, dropped = _kept(source)
    for one in dropped:
        say(f"left out: {one.name}: {one.why}")
    before, given = _read(source, os.fspath(photos), label, options.shots, say)
    proof = _Proof(
        [*before.pixels, *(shot.pixels for shot in given.held_out)],
        np.append(before.truth, np.full(len(given.held_out), index)),
        before.old,
    )
    taught = [
        _outputs(source, variant, proof, given if place == 0 else None, options.threads, prefer, mirror=options.mirror)
        for place, variant in enumerate(kept)
    ]
    first, bank = taught[0], _bank(source)
    row = _fitted(first, index, bank, options.aim, views=2 if options.mirror else 1)
    labels = (*source.labels, label) if index == len(source.labels) else source.labels
    say(f"learned {label} from {len(given.shots)} photos, {len(given.held_out)} held out")
    logits = _reference(source, first, row)
    probabilities = _softmax(logits)
    results = [_changed(one, row, labels, proof, probabilities, options.threads, prefer) for one in taught]
    more = grown(bank, first.shots.pooled, classes=len(source.labels))
    unknown = [_unknown_again(source, one, more.bank, proof.old) for one in taught]
    measured = tuple(one for _, one in results)
    why = _too_much(measured, options.max_drop)
    teaching = Teaching(
        producer=Named("edgetl-device", __version__),
        created=created(),
        source=source.digest,
        label=label,
        kind="added" if index == len(source.labels) else "more shots",
        shots=len(given.shots),
        shots_pixels_sha256=tuple(shot.digest for shot in given.shots),
        reference=first.variant.name,
        dropped=dropped,
    )
    written = None
    if not why:
        new = NewBundle(
            source=source,
            labels=labels,
            taught=index,
            variants=tuple(one for one, _ in results),
            held_out=given.held_out,
            logits=logits,
            probabilities=probabilities,
            bank=more.arrays,
            unknown=tuple(one for one, _ in unknown),
            record=teaching,
        )
        written = BundleName(target.name, write(target, new))
    return Adapted(
        producer=teaching.producer,
        created=teaching.created,
        outcome="refused" if why else "written",
        source=BundleName(source.path.name, source.digest),
        bundle=written,
        label=label,
        kind=teaching.kind,
        photos=PhotosUsed(given.files, len(given.shots), len(given.held_out), given.set_aside),
        max_drop_pp=options.max_drop,
        aim_pp=options.aim if teaching.kind == "added" else None,
        why=why,
        reference=teaching.reference,
        variants=measured,
        dropped=dropped,
        unknown=tuple(one for _, one in unknown),
        was_signed=bool(source.signatures()),
        seconds=time.perf_counter() - started,
    )


def _silent(_: str) -> None:
    pass


def _check_target(target: Path, source: Bundle) -> None:
    """Refuse a target that exists, that is inside the bundle, or where nothing can be written."""
    if os.path.lexists(target):
        raise InputError(f"{target}: exists already", hint="Choose another place for the new bundle, or remove it.")
    if target.resolve().is_relative_to(source.path.resolve()):
        raise InputError(f"{target}: is inside the bundle", hint="Choose a place outside it.")
    check_writable(target)


def _class_of(bundle: Bundle, options: AdaptOptions) -> tuple[int, str]:
    """Return index and label of the class to teach; the index of a new one is the number of classes."""
    name = options.add_class if options.add_class is not None else options.more_shots
    if name is None:
        raise OptionError("no class to teach", why="exactly one class is taught at a time", hint=HOW)
    label = normal(name)
    by_normal = {normal(one): place for place, one in enumerate(bundle.labels)}
    if options.more_shots is not None:
        if label not in by_normal:
            raise OptionError(
                "{more_shots=}: the bundle has no such class",
                why=f"it has {', '.join(map(shown, bundle.labels[:20]))}",
                hint="Add a class with {add_class}.",
                more_shots=options.more_shots,
            )
        return by_normal[label], bundle.labels[by_normal[label]]
    if why := why_no_label(label):
        raise OptionError(
            "{add_class=}: a class cannot have this name", why=why, hint="Choose another.", add_class=options.add_class
        )
    wrong = "is in the bundle already" if label in by_normal else ""
    if not wrong and label.casefold() in {one.casefold() for one in by_normal}:
        wrong = "differs from a class of the bundle in upper and lower case only"
    if wrong:
        hint = "Give more photos of it with {more_shots}, or choose another name."
        raise OptionError(f"{{add_class=}}: {wrong}", hint=hint, add_class=options.add_class)
    return len(bundle.labels), label


def _kept(bundle: Bundle) -> tuple[list[Variant], tuple[Dropped, ...]]:
    """Return the variants that can be taught, float32 first, and the others with the reason.

    Raises:
        InputError: There are none, because the bundle has no outputs of features, or for other reasons.
    """
    if bundle.unknown is None:
        raise InputError(
            f"{bundle.path}: its models have no outputs of features, from which a class could be learned",
            hint="Make it again from its run: edgetl quantize RUN --unknown --overwrite",
        )
    telling = {one.name for one in bundle.unknown.variants}
    kept, dropped = [], []
    for variant in bundle.variants:
        why = ""
        if variant.format != _FORMAT:
            why = f"files in the {variant.format} format cannot be changed on a device"
        elif variant.precision not in _PRECISIONS:
            why = f"files of {variant.precision} cannot be changed on a device"
        elif variant.compilation is not None:
            why = "it is compiled"
        elif variant.name not in telling:
            why = "it has no outputs of features"
        if why:
            dropped.append(Dropped(variant.name, why))
        else:
            kept.append(variant)
    if not kept:
        raise InputError(
            f"{bundle.path}: none of its variants can be taught",
            why="; ".join(f"{one.name}: {one.why}" for one in dropped),
            hint="Make it again from its run: edgetl quantize RUN --unknown --overwrite",
        )
    kept.sort(key=lambda variant: _PRECISIONS.index(variant.precision))
    return kept, tuple(dropped)


def _read(bundle: Bundle, photos: str, label: str, shots: int | None, say: Say) -> tuple[_Proof, Given]:
    """Read the held-out photos of the bundle, and the class's."""
    held_out = bundle.photos()
    pixels = [preprocess(bundle.read(photo.file), bundle.preprocess) for photo in held_out]
    labels = {digest_of(one): bundle.labels[photo.index] for one, photo in zip(pixels, held_out, strict=True)}
    given = read_given(photos, bundle.preprocess, label, labels, _learned(bundle), shots=shots, say=say)
    return _Proof(pixels, np.array([photo.index for photo in held_out], np.int64), len(held_out)), given


def _learned(bundle: Bundle) -> set[str]:
    """Return the digests of all photos that a bundle was taught with; what is no list of digests has none."""
    earlier = bundle.provenance.get("adapted")
    found: set[str] = set()
    for one in earlier if isinstance(earlier, list) else ():
        digests = one.get("shots_pixels_sha256") if isinstance(one, dict) else None
        found |= {str(digest) for digest in digests} if isinstance(digests, list) else set()
    return found


def _outputs(
    bundle: Bundle,
    variant: Variant,
    proof: _Proof,
    given: Given | None,
    threads: int,
    prefer: str | None,
    *,
    mirror: bool,
) -> _Taught:
    model = bundle.read(variant.file)
    # The mirror image of a photo shows the class, too, for one more run.
    shots = [shot.pixels for shot in (given.shots if given else ())]
    views = [view for pixels in shots for view in ((pixels, pixels[:, ::-1]) if mirror else (pixels,))]
    files = bundle.unknown.photos if bundle.unknown else ()
    with _opened(model, variant, threads, prefer) as runtime:
        dense = read_dense(model)
        if not runtime.features or runtime.features[0].shape[-1] != dense.weights.shape[1]:
            raise InputError(f"{bundle.path}: {variant.file}: its second output is not the input of its last layer")
        held_out = _run(runtime, proof.pixels)
        found = len(dense.bias), held_out.pooled.shape[1]
        declared = len(bundle.labels), bundle.unknown.features if bundle.unknown else 0
        if found != declared:
            why = "it has {} classes and {} features".format(*found) + ", the manifest {} and {}".format(*declared)
            raise damaged(f"{bundle.path}: {variant.file}", why)
        return _Taught(
            variant=variant,
            model=model,
            dense=dense,
            shots=_run(runtime, views),
            held_out=held_out,
            unknown=_run(runtime, [preprocess(bundle.read(file), bundle.preprocess) for file in files]),
        )


@contextmanager
def _opened(model: bytes, variant: Variant, threads: int, prefer: str | None) -> Iterator[Runtime]:
    check_model(model, variant.format, sha256_bytes(model), prefer=prefer)
    runtime = open_runtime(model, variant.format, threads=threads, prefer=prefer)
    try:
        yield runtime
    finally:
        runtime.close()


def _run(runtime: Runtime, photos: Sequence[Pixels]) -> _Outputs:
    inputs, pooled, probabilities = [], [], []
    for photo in photos:
        runtime.set_input(np.ascontiguousarray(photo))
        runtime.invoke()
        inputs.append(runtime.dense_input())
        pooled.append(runtime.pooled())
        probabilities.append(runtime.probabilities())
        check_probabilities(probabilities[-1])
        if not np.isfinite(inputs[-1]).all():
            raise InputError("the features of the model are not all finite", hint="Its weights are damaged.")
    return _Outputs(_rows(inputs), _rows(pooled), _rows(probabilities))


def _rows(rows: Sequence[Floats]) -> Floats:
    return np.stack(rows) if rows else np.zeros((0, 0), np.float32)


def _bank(bundle: Bundle) -> FeatureBank:
    for variant in bundle.unknown.variants if bundle.unknown else ():
        scorer = bundle.unknown_scorer(variant.name)
        if scorer is None:
            continue
        if len(scorer.bank.rows) < FEWEST_ROWS:
            raise InputError(
                f"{bundle.path}: its feature bank has {len(scorer.bank.rows)} training photos",
                why=f"what other classes look like is learned from at least {FEWEST_ROWS}",
            )
        return scorer.bank
    raise InputError(f"{bundle.path}: it has no feature bank")


def _fitted(first: _Taught, index: int, bank: FeatureBank, aim: float, *, views: int) -> _Row:
    shots = first.shots.inputs
    width = shots.shape[1]
    others = directions(bank, width) * np.float32(np.linalg.norm(shots, axis=1).mean())
    span = np.concatenate([bank.mean[None, :width], bank.components[:, :width], shots])
    examples = Examples(shots, np.arange(len(shots)) // views, others, span)
    if index == len(first.dense.bias):
        weights, bias = new_row(first.dense, examples, aim=aim / 100)
    else:
        weights, bias = changed_row(first.dense, index, examples)
    highest = float((np.concatenate([shots, others]) @ weights).max()) + bias
    return _Row(index, weights, bias, _HEADROOM * highest)


def _reference(bundle: Bundle, first: _Taught, row: _Row) -> Floats:
    """Return the logits of the new float reference for all held-out photos, float32 [n, classes].

    For the bundle's photos they are those that the bundle has, and the class's own.
    """
    logits = first.dense.with_row(row.index, row.weights, row.bias).logits(first.held_out.inputs)
    old = bundle.reference().logits
    others = np.arange(old.shape[1]) != row.index
    logits[: len(old), : old.shape[1]][:, others] = old[:, others]
    return logits


def _softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def _changed(
    one: _Taught,
    row: _Row,
    labels: tuple[str, ...],
    proof: _Proof,
    reference: Floats,
    threads: int,
    prefer: str | None,
) -> tuple[NewVariant, AdaptedVariant]:
    """Return a variant with the new row, and what it gained and lost; ``reference`` is float32 [n, classes]."""
    variant = one.variant
    model = change_row(one.model, row.index, row.weights, row.bias, highest=row.highest, labels=labels)
    probabilities, output = _new_predictions(one, model, row, proof, threads, prefer)
    scores = score(probabilities, proof.truth, reference)
    assert not isinstance(scores.agreement, Unknown)
    accuracy = scores.accuracy
    if len(labels) > TOP:
        accuracy = replace(accuracy, top5=top5(probabilities, proof.truth))
    before = one.held_out.probabilities.argmax(axis=1) == proof.truth
    after = probabilities.argmax(axis=1) == proof.truth
    old, new = slice(None, proof.old), slice(proof.old, None)
    drop = paired_drop(before[old], after[old])
    measured = AdaptedVariant(
        name=variant.name,
        old=BeforeAfter(
            _accuracy(before[old]), _accuracy(after[old]), drop.drop_pp, drop.ci95_pp, drop.lost, drop.gained
        ),
        taught_before=_accuracy(before[new]) if row.index < len(one.dense.bias) else None,
        taught=_accuracy(after[new]),
        agreement=scores.agreement,
    )
    return NewVariant(variant, model, output, accuracy, scores.agreement), measured


def _new_predictions(
    one: _Taught, model: bytes, row: _Row, proof: _Proof, threads: int, prefer: str | None
) -> tuple[Floats, TensorSpec]:
    """Return the probabilities of a new file for the held-out photos, and their spec.

    An int8 file runs on all of them. What a float32 file gives follows from the inputs of its last layer, which have
    not changed; it runs on a few, to see that it does.
    """
    with _opened(model, one.variant, threads, prefer) as runtime:
        if one.variant.precision != "float32":
            return _run(runtime, proof.pixels).probabilities, runtime.output
        dense = one.dense.with_row(row.index, row.weights, row.bias)
        computed = _softmax(dense.logits(one.held_out.inputs))
        some = np.unique(np.linspace(0, len(proof.pixels) - 1, _CHECKED).round().astype(int))
        found = _run(runtime, [proof.pixels[place] for place in some]).probabilities
        # Written so that NaN fails.
        if not float(np.abs(found - computed[some]).max()) <= _CLOSE:
            raise InputError(
                f"{one.variant.name}: the changed file does not give what its weights say",
                hint="Use another version of the runtime.",
            )
        return computed, runtime.output


def _accuracy(right: Bools) -> Accuracy:
    return accuracy_of(int(right.sum()), len(right))


def _unknown_again(bundle: Bundle, one: _Taught, bank: FeatureBank, old: int) -> tuple[UnknownVariant, AdaptedUnknown]:
    """Count again what a variant takes for known, by the threshold that it has and a bank with more rows.

    Neither the validation photos nor those given as unknown are all in the bundle. Of the former no fewer are accepted
    than before, because rows were only added; what is recorded of the latter and of distortions holds no more.
    """
    assert bundle.unknown is not None
    before = next(found for found in bundle.unknown.variants if found.name == one.variant.name)

    def accepted(pooled: Floats) -> Accepted:
        return accepted_of(sum(bank.distance(row) <= before.threshold for row in pooled), len(pooled))

    held_out = accepted(one.held_out.pooled)
    in_bundle = accepted(one.unknown.pooled) if len(one.unknown.pooled) else None
    return (
        replace(before, held_out=held_out, unknown=None, in_bundle=in_bundle, drawn={}),
        AdaptedUnknown(
            before.name,
            accepted(one.held_out.pooled[old:]),
            held_out,
            before.in_bundle if in_bundle else None,
            in_bundle,
        ),
    )


def _too_much(measured: Sequence[AdaptedVariant], max_drop: float) -> str | None:
    worst = max(measured, key=lambda one: one.old.drop_pp)
    if worst.old.drop_pp <= max_drop:
        return None
    low, high = worst.old.drop_ci95_pp
    return (
        f"{worst.name} loses {worst.old.drop_pp:.1f} pp on {worst.old.before.photos} held-out photos "
        f"(95% CI {low:+.1f} to {high:+.1f})"
    )

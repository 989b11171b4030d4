"""``edgetl demo``: the whole pipeline on synthetic photos, up to a measured int8 model."""

from __future__ import annotations

from pathlib import Path

import typer

from edgetl.cli.console.output import echo, note

# Of the extra [train]: what the demo would miss only after minutes.
_NEEDED = ("tensorflow", "ai_edge_litert", "sklearn", "onnx", "onnxruntime", "tf2onnx", "matplotlib", "jinja2")
_WRITTEN = ("run", "run.unfinished", "parts.edgetl", "result.json", "result.png")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("demo")(demo)


def demo(
    out: Path = typer.Option(Path("demo"), help="Folder for the photos, the run and the result."),
    per_class: int = typer.Option(60, help="Photos to draw per class."),
    duration: float = typer.Option(4.0, help="Seconds of sampling per variant."),
) -> None:
    """Draw synthetic photos of machine parts, train, quantize to int8, bench float against int8, classify.

    Example: edgetl demo
    """
    from edgetl._lib.extras import check_installed

    for module in _NEEDED:
        check_installed(module)
    from edgetl import synthetic
    from edgetl._lib.progress import track
    from edgetl.cli.console.bench import print_result
    from edgetl.quantization.options import QuantizeOptions
    from edgetl.quantization.pipeline import quantize
    from edgetl.reports import plots
    from edgetl.reports.run import written_page
    from edgetl.training import TrainOptions, train
    from edgetl_device._lib.documents import write
    from edgetl_device.bench.options import BenchOptions
    from edgetl_device.bench.run import run_bench
    from edgetl_device.bundle import Bundle
    from edgetl_device.classifier import Classifier
    from edgetl_device.packing import pack

    photos, run_folder, picture = out / f"photos-{per_class}", out / "run", out / "result.png"
    _check_place(out)
    note(f"edgetl demo: synthetic photos of machine parts, drawn here ({', '.join(synthetic.CLASSES)})")
    if not photos.is_dir():
        with track("Drawing photos", per_class * len(synthetic.CLASSES)) as advance:
            synthetic.draw_dataset(photos, per_class=per_class, progress=advance)
    run = train(photos, run_folder, TrainOptions(), overwrite=True)
    quantize(run, QuantizeOptions(int8=True))
    bundle = Bundle.open(run_folder / "bundle")
    bench = BenchOptions(variants=("float32", "int8"), duration=duration, quick=True)
    packed = pack(bundle.path, out / "parts.edgetl")
    result = run_bench(bundle, bench, say=note)
    write(out / "result.json", result)

    print_result(result)
    shown = []
    test = run.of("test")
    with Classifier(bundle, "int8") as classifier:
        for sample in [next(one for one in test if one.label == label) for label in run.labels]:
            photo = photos / sample.path
            pixels = classifier.pixels(photo)
            best = classifier.classify(pixels)[0]
            shown.append(plots.ClassifiedPhoto(pixels, sample.label, best.label, best.probability))
            echo(f"{photo}: {best.label} {best.probability:.2f} (it is a {sample.label})")
    plots.side_by_side(
        result, shown, title="edgetl demo: synthetic machine parts, float32 and int8 on this machine", target=picture
    )
    echo()
    echo("The photos are synthetic: the accuracy shows that the pipeline works, not what to expect on your photos.")
    echo(f"photos  {photos}")
    echo(f"run     {run_folder}  (model.keras, plots/, run.json, quantize.json)")
    echo(f"report  {written_page(run)}")
    echo(f"bundle  {run_folder / 'bundle'}, as one file: {packed} ({packed.stat().st_size / 1e6:.1f} MB)")
    echo(f"result  {out / 'result.json'}, as a picture: {picture}")
    echo("next    edgetl train your_photos/")


def _check_place(out: Path) -> None:
    """Refuse a folder with files that are not from a demo."""
    from edgetl_device._lib.jsonfile import read_json
    from edgetl_device.bench.result import Result
    from edgetl_device.errors import InputError

    if not out.is_dir():
        return
    names = sorted(path.name for path in out.iterdir())
    strange = [name for name in names if name not in _WRITTEN and not name.startswith("photos-")]
    if strange:
        raise InputError(
            f"{out}: contains something that is not part of a demo: {strange[0]}",
            why="a demo replaces only files of an earlier demo",
            hint="Name a new folder with --out.",
        )
    if (out / "result.json").exists():
        read_json(out / "result.json", Result.SCHEMA)

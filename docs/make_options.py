"""Writes docs/options.md from the definitions of the options: ``python docs/make_options.py``."""

from __future__ import annotations

from pathlib import Path

from edgetl.quantization.options import QuantizeOptions
from edgetl.training.options import TrainOptions
from edgetl_device.bench.options import BenchOptions
from edgetl_device.options import markdown_table

PAGE = Path(__file__).with_name("options.md")
_INTRODUCTION = """# Options

`edgetl train`, `edgetl quantize` and `edgetl bench` take each option as a flag, from a configuration file, or as a
keyword argument in Python, where dashes become underscores: `--batch-size 16`, `batch_size = 16`, `batch_size=16`. All
are checked alike, before any work begins. This page is made from their definitions (`python docs/make_options.py`).

## A configuration file

`--print-config` writes one with every option and what it means, and `--config` reads it back:

```
edgetl train --epochs 30 --print-config > edgetl.toml
edgetl quantize --int8 --print-config >> edgetl.toml
edgetl train photos/ --config edgetl.toml --seed 3
edgetl quantize runs/photos --config edgetl.toml
```

What the command line says wins over the file, and the file over the defaults; `--no-quick` and the like switch off what
the file switches on. A file has a table for each command, `[train]`, `[quantize]`, `[bench]`, or the options of one
command and no table. A name that no option has is refused. Where a default below is not a value but words, the photos,
the backbone or the machine decide; `run.json` says what that came to.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION]
    for verb, kind in (("train", TrainOptions), ("quantize", QuantizeOptions), ("bench", BenchOptions)):
        parts.append(f"## edgetl {verb}\n\n{markdown_table(kind)}")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

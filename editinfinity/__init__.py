"""Edit photographs by text: inversion with Infinity, as stages of a Snakemake workflow.

The public API is exported at package level and loaded lazily, on first access, so that
``import editinfinity`` is fast and does not import torch::

    from editinfinity import EditInfinityPipeline, Infinity, Tokenizer, preset, schedule

The stages are functions in ``editinfinity.stages`` (also exported here); the models are modules in
``editinfinity.models``. docs/architecture.md describes how data flows through them.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

_of_a_module, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _of_a_module(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("editinfinity")
    except PackageNotFoundError:  # run from a source checkout
        return "0+uninstalled"

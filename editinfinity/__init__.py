"""Edit photographs by text: inversion with Infinity, as stages of a Snakemake workflow.

The parts most programs want are attributes of the package, loaded when first asked for, so that
``import editinfinity`` costs nothing and needs no torch::

    from editinfinity import EditInfinityPipeline, Infinity, Tokenizer, preset, schedule

The stages are functions of ``editinfinity.stages`` (also exported here), the models modules of
``editinfinity.models``; see docs/architecture.md for the way data takes through them.
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
    except PackageNotFoundError:  # run from a folder of sources
        return "0+uninstalled"

"""The command ``import-upstream``: a finished folder of the original becomes a trained case."""

from __future__ import annotations

import filecmp
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from editinfinity.cases.folders import UNNAMED_EDIT
from editinfinity.cli.streams import tell
from editinfinity.errors import UserError
from editinfinity.files.input_files import path_on_disk
from editinfinity.names import why_unusable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from editinfinity.cases.create import NewEdit
    from editinfinity.cases.upstream import UpstreamCase
    from editinfinity.config.load import Config
    from editinfinity.files.checkpoints import Adapter
    from editinfinity.planning.targets import Layout
    from editinfinity.released.trainings import Training

log = logging.getLogger(__name__)


def import_upstream(
    folder: Annotated[Path, typer.Argument(help="A case folder of the original.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the case; default: that of the folder.")
    ] = None,
    embedding: Annotated[
        Path | None,
        typer.Option(
            help="Text embedding; default: all of "
            "FOLDER/trained_language_style_embedding/embedding_it*.pth."
        ),
    ] = None,
    lora: Annotated[
        Path | None,
        typer.Option(
            help="LoRA, or a folder of them; default: all of "
            "FOLDER/lora_weight/lora_weight_*iter.pt."
        ),
    ] = None,
    blend: Annotated[
        Path | None,
        typer.Option(help="Blend mask; default: FOLDER/weight_tensor/weighted_tensor.pt."),
    ] = None,
    with_mask: Annotated[
        bool,
        typer.Option("--with-mask", help="Take image/mask.png even if there is a target word."),
    ] = False,
) -> None:
    """Make a case of a finished folder of the original EditInfinity; nothing is trained again.

    editinfinity import-upstream EditInfinity/example_case/example_2

    Photograph, prompts and mask become data/NAME, and what was trained becomes checkpoints in
    results/NAME, for the model of config.yaml. The settings of the case (attention_bias: 0, which
    checkpoints to use) are added to overrides of config.yaml.
    """
    from editinfinity.cases.create import command_for_case, make_case, require_creatable
    from editinfinity.cases.upstream import UpstreamCase
    from editinfinity.config.overrides import add_override, override_line
    from editinfinity.planning.in_use import locked_for_change, paths_of_case
    from editinfinity.planning.targets import layout
    from editinfinity.presets import preset
    from editinfinity.released.trainings import TrainingFiles
    from editinfinity.settings.groups import LoraSettings

    case = folder.resolve().name if name is None else name
    if reason := why_unusable(case):
        raise UserError(f"{case!r} cannot be the name of a case: {reason}; give --name")
    config, config_path = _project()
    upstream = UpstreamCase.read(folder, config, with_mask)
    files = TrainingFiles.find(folder, embedding, lora, blend)
    settings = config.settings_of(case)
    training = files.read(preset(str(settings["model"])), LoraSettings.of(settings))
    target, overrides = path_on_disk(config.data / case), training.settings()
    if left_out := _unfit_blend(training.blend, upstream.image):
        log.warning("%s", left_out)
        training = replace(training, blend=None)
    with (
        tempfile.TemporaryDirectory() as temporary,
        locked_for_change([config_path, *paths_of_case(target)]),
    ):
        new_blend = Path(temporary, "blend.npy")
        edits = _with_blend(upstream.edits, training.blend, new_blend)
        require_creatable(target, upstream.image, edits)
        _require_same_prompts(target, upstream)
        writers = list(_writers(training, target, layout(config, case), new_blend))
        make_case(target, upstream.image, upstream.source_prompt, edits)
        for write in writers:
            write()
        added = add_override(config_path, case, overrides)
    for line in upstream.notices:
        log.warning("%s", line)
    for line in _summary(training, files.missing(), target):
        tell(line)
    entry = override_line(case, overrides)
    tell(
        f"{config_path}: overrides: {entry}"
        if added
        else f"{config_path}: is left as it is (it has other settings of this case, or another "
        f"layout); set in its overrides: {entry}"
    )
    tell(f"{target}: run it with: {command_for_case(target.name)}")


def _project() -> tuple[Config, Path]:
    """Return the configuration of the current folder, and the path of its file.

    Raises:
        UserError: it is not valid, or its cases are not folders.
    """
    from editinfinity.cases.load import cases_are_folders
    from editinfinity.config.config_file import read_config_file
    from editinfinity.config.load import load_config

    written, path, notices = read_config_file(Path())
    for line in notices:
        log.warning("%s", line)
    config = load_config({**written, "slice": None}, source=path.name)
    if not cases_are_folders(config):
        raise UserError(
            f"{path}: takes its cases from a table or a benchmark; set cases: null and pie_bench: "
            "null to import folders"
        )
    return config, path


def _writers(
    training: Training, case: Path, results: Layout, new_blend: Path
) -> Iterator[Callable[[], None]]:
    """Yield a function that writes a checkpoint, for each one that does not exist.

    Raises:
        UserError: a file exists with another content.
    """
    from editinfinity.files.checkpoints import ADAPTER_CONFIG, Adapter, SoftPrompt

    def refuse(path: Path, source: Path | str) -> None:
        raise UserError(f"{path}: is not what {source} contains; delete it, or give another --name")

    for source, prompt in training.soft_prompts.items():
        path = Path(results.embedding(prompt.iteration))
        if not path.exists():
            yield partial(prompt.save, path)
        elif not SoftPrompt.load(path, prompt.preset, prompt.vectors.shape[1]).vectors.equal(
            prompt.vectors
        ):
            refuse(path, source)
    for source, (updates, adapter) in training.adapters.items():
        path = Path(results.lora_folder(training.embedding_iteration, updates))
        if not (path / ADAPTER_CONFIG).exists():  # which is written last
            yield partial(adapter.save, path)
        elif not _same(Adapter.load(path), adapter):
            refuse(path, source)
    blend = case / "image" / "blend.npy"  # make_case writes it
    if training.blend is not None and blend.exists() and not filecmp.cmp(blend, new_blend, False):
        refuse(blend, "the blend mask of the original")


def _unfit_blend(blend: NDArray[np.float32] | None, image: Path) -> str:
    """Return a line if the blend mask of the original does not fit the photograph; else nothing."""
    from editinfinity.files.images import schedule_for
    from editinfinity.files.opening import size_upright

    if blend is None or schedule_for(size_upright(image), "1M").reference_grid == blend.shape:
        return ""
    return (
        f"{image}: is not square, so the blend mask of the original, which covers the photograph "
        "squeezed into a square, is left out; draw a mask"
    )


def _require_same_prompts(case: Path, upstream: UpstreamCase) -> None:
    """Refuse to replace prompts that were changed after an earlier import."""
    from editinfinity.files.prompts import read_prompt

    prompts = {
        f"edit_image_prompt{'' if name == UNNAMED_EDIT else f'.{name}'}.txt": edit.prompt
        for name, edit in upstream.edits.items()
    }
    if upstream.source_prompt is not None:
        prompts["original_image_prompt.txt"] = upstream.source_prompt
    for file, prompt in prompts.items():
        path = case / "prompt" / file
        if path.exists() and read_prompt(path, may_be_empty=True) != prompt:
            raise UserError(
                f"{path}: is not that of the original; delete it, or give another --name"
            )


def _with_blend(
    edits: Mapping[str, NewEdit], blend: NDArray[np.float32] | None, file: Path
) -> Mapping[str, NewEdit]:
    """Return the edits with the original's blend mask, if there is one, written to ``file``."""
    if blend is None:
        return edits
    import numpy as np

    np.save(file, blend)
    return {name: replace(edit, blend=file) for name, edit in edits.items()}


def _same(adapter: Adapter, other: Adapter) -> bool:
    if adapter.config != other.config or adapter.weights.keys() != other.weights.keys():
        return False
    return all(tensor.equal(other.weights[name]) for name, tensor in adapter.weights.items())


def _summary(training: Training, missing: list[str], case: Path) -> Iterator[str]:
    """Yield lines about what was imported and what was not found."""
    iterations = [
        *(f"{path.name} is iter{p.iteration}" for path, p in training.soft_prompts.items()),
        *(f"{path.name} is iter{updates}" for path, (updates, _) in training.adapters.items()),
    ]
    yield (
        f"{case}: iterations are named by the updates made, one less than the original's scripts "
        f"say: {', '.join(iterations)}" + (f"; not found: {', '.join(missing)}" if missing else "")
    )
    if len(training.soft_prompts) > 1 and training.adapters:
        yield (
            f"{case}: LoRA is taken as trained with text embedding iter"
            f"{training.embedding_iteration}; give --embedding if it was another"
        )
    if training.blend is not None:
        yield f"{case}/image/blend.npy: blends as the original did; delete it to use mask or word"

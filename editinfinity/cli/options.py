"""Options that several commands have in common, written once: as dataclasses.

Typer reads a command's options from its parameters, one each. A command under :func:`grouped` may
have a parameter that is a dataclass; each of its fields is then an option.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Optional, get_type_hints

import typer

from editinfinity.stages.settings import ModelSettings, TrainingSettings


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Offer the fields of a command's dataclass parameters as options, where those stand.

    Fields are annotated as typer's parameters are, ``Annotated[int, typer.Option(...)]``.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        for name, group in groups.items():
            own = {field.name: given.pop(field.name) for field in fields(group)}
            given[name] = group(**own)
        command(**given)

    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        options += _fields(groups[name]) if name in groups else [parameter]
    # Keyword-only ones may stand in any order, with a default or without.
    options = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    spread.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    spread.__annotations__ = {option.name: option.annotation for option in options}
    return spread


def _fields(group: Any) -> list[inspect.Parameter]:
    kinds = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=kinds[field.name],
        )
        for field in fields(group)
    ]


# Typer reads these annotations at run time, so they are spelt with Optional.


@dataclass(frozen=True)
class Machine:
    """Options of every stage that runs a part of the model."""

    model: Annotated[str, typer.Option(help="bundled, infinity_2b, infinity_8b or tiny.")] = (
        "bundled"
    )
    model_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of released weights."),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    threads: Annotated[str, typer.Option(help="CPU threads, or auto for all cores.")] = "auto"

    def settings(self) -> ModelSettings:
        """What the stages take."""
        count: int | str = int(self.threads) if self.threads.isdecimal() else self.threads
        return ModelSettings(self.model, self.model_dir, device=self.device, threads=count)


@dataclass(frozen=True)
class Transformer(Machine):
    """Options of every stage that runs the transformer."""

    attention_bias: Annotated[bool, typer.Option(help="Keep the trained q and v biases.")] = True

    def settings(self) -> ModelSettings:
        """What the stages take."""
        return replace(super().settings(), attention_bias=self.attention_bias)


@dataclass(frozen=True)
class Training:
    """Options of the two stages that train."""

    seed: Annotated[int, typer.Option(help="Seed of all noise.")] = 42
    learning_rate: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Default: the model's own."),
    ] = None
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Default: the model's own."),
    ] = None
    noise_strength: Annotated[float, typer.Option(help="Largest probability of a flipped bit.")] = (
        0.3
    )
    cond_drop: Annotated[float, typer.Option(help="Probability of training without text.")] = 0.1
    drop_path: Annotated[float, typer.Option(help="Probability of skipping the last block.")] = 0.1
    grad_clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 5.0
    betas: Annotated[tuple[float, float], typer.Option(help="AdamW's two.")] = (0.9, 0.97)
    weight_decay: Annotated[float, typer.Option(help="AdamW's weight decay.")] = 0.0

    def settings(self) -> TrainingSettings:
        """What the stages take."""
        return TrainingSettings(
            seed=self.seed,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            betas=self.betas,
            weight_decay=self.weight_decay,
            gradient_clip=self.grad_clip,
            noise_strength=self.noise_strength,
            condition_dropout=self.cond_drop,
            drop_path=self.drop_path,
        )

"""Options of commands that come from dataclasses: groups of settings, and options commands share.

Typer reads a command's options from its parameters, one each. A command under :func:`grouped` may
have a parameter that is a dataclass; each of its fields is then an option.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import typer

from editinfinity.settings.groups import SETTINGS

_EARLIER = {
    "train_seed": "--seed",
    "embedding_learning_rate": "--learning-rate",
    "lora_learning_rate": "--learning-rate",
    "lora_rank": "--rank",
    "lora_alpha": "--alpha",
    "lora_dropout": "--dropout",
}
"""Setting → an option of the same meaning that stages had before."""


def setting_option(key: str) -> Any:
    """The option of a setting, for ``Annotated``; it is called like the setting."""
    names = [f"--{key.replace('_', '-')}", _EARLIER[key]] if key in _EARLIER else []
    return typer.Option(*names, help=f"{SETTINGS[key].help.replace('null =', 'default:')}.")


class Without:
    """Settings of a group that a command leaves at their defaults.

    Args:
        keys: of them.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys


def runs(stage: str, function: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command, which is then only a signature and a help text, run a stage.

    The command's options are the arguments of the stage's function. A dataclass that the function
    does not take as it is reaches it as one argument a field.

    Args:
        stage: module of ``editinfinity.stages``, imported when the command runs.
        function: of that module.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**options: Any) -> None:
            call = getattr(importlib.import_module(f"editinfinity.stages.{stage}"), function)
            parameters = inspect.signature(call).parameters.values()
            taken = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
            given: dict[str, Any] = {}
            for name, value in options.items():
                given |= {name: value} if name in taken or not is_dataclass(value) else vars(value)
            call(**given)

        return run

    return wrap


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Offer the fields of a command's dataclass parameters as options, where those stand.

    Fields of a group of settings have the options of their settings, but for those that a
    ``Without`` in the parameter's annotation names. Fields of other dataclasses are annotated as
    typer's parameters are, ``Annotated[int, typer.Option(...)]``.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, dict[str, inspect.Parameter]] = {}
    kinds: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        kind, left_out = parameter.annotation, tuple[str, ...]()
        if (found := get_args(kind)) and isinstance(found[-1], Without):
            kind, left_out = found[0], found[-1].keys
        if is_dataclass(kind):
            kinds[name] = kind
            groups[name] = {
                option.name: option for option in _fields(kind) if option.name not in left_out
            }
            options += groups[name].values()
        else:
            options.append(parameter)

    @functools.wraps(command)
    def spread(**given: Any) -> None:
        for name, own in groups.items():
            given[name] = kinds[name](**{option: given.pop(option) for option in own})
        command(**given)

    # Keyword-only ones may stand in any order, with a default or without.
    options = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    spread.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    spread.__annotations__ = {option.name: option.annotation for option in options}
    return spread


def _fields(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        annotation = hints[field.name]
        if field.name in SETTINGS and field.metadata:
            value = get_args(annotation)[0]
            annotation = Annotated[str if value == int | str else value, setting_option(field.name)]
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=annotation,
        )

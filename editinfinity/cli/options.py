"""Command options that are declared in dataclasses, so that several commands can share them.

Typer makes one option of each parameter of a command. A command decorated with :func:`grouped` may
have parameters that are dataclasses; each of their fields is then an option.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_type_hints

import typer

from editinfinity.cli.streams import be_quiet
from editinfinity.settings.groups import SETTINGS
from editinfinity.settings.types import Choice

_OLD_NAMES = {
    "train_seed": "--seed",
    "embedding_learning_rate": "--learning-rate",
    "lora_learning_rate": "--learning-rate",
    "lora_rank": "--rank",
    "lora_alpha": "--alpha",
    "lora_dropout": "--dropout",
}
"""Setting → the former name of its option, which is still names."""


def setting_option(key: str) -> Any:
    """Return the typer option of a setting, for use in ``Annotated``; it has the setting's name."""
    names = [f"--{key.replace('_', '-')}", _OLD_NAMES[key]] if key in _OLD_NAMES else []
    setting = SETTINGS[key]
    words = map(str, setting.type.options) if isinstance(setting.type, Choice) else ()
    text = f"{setting.help.replace('null =', 'default:')}."
    return typer.Option(*names, help=text, autocompletion=completion_of(words))


def completion_of(words: Iterable[str]) -> Callable[[], list[str]]:
    """Return a function with the words to which shells complete a value, for typer."""
    listed = list(words)
    return lambda: listed


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def with_quiet(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--quiet`` to a command, which it takes after its name as well."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def run(quiet: bool, **options: Any) -> None:
        if quiet:
            be_quiet()
        command(**options)

    added = inspect.Parameter(
        "quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet
    )
    options = [*signature.parameters.values(), added]
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


class Without:
    """Marks settings of a group that a command offers no options for; they keep their defaults.

    Args:
        keys: names of these settings.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys


def runs(stage: str, function: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that makes a command without code of its own run a stage.

    The options are passed to the stage's function by name. A dataclass that the function has no
    parameter for is passed as one argument per field.

    Args:
        stage: module of ``editinfinity.stages``, imported when the command runs.
        function: name of a function of that module.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**options: Any) -> None:
            call = getattr(importlib.import_module(f"editinfinity.stages.{stage}"), function)
            parameters = inspect.signature(call).parameters.values()
            names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
            taken: dict[str, Any] = {}
            for name, value in options.items():
                taken |= {name: value} if name in names or not is_dataclass(value) else vars(value)
            call(**taken)

        return run

    return wrap


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each dataclass parameter of a command by one option per field, in its position.

    Fields of a group of settings get the options of :func:`setting_option`, except those named by
    a ``Without`` in the parameter's annotation. Fields of other dataclasses are annotated like
    typer's parameters, ``Annotated[int, typer.Option(...)]``.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, dict[str, inspect.Parameter]] = {}
    classes: dict[str, Any] = {}
    options: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        annotation, left_out = parameter.annotation, tuple[str, ...]()
        if (found := get_args(annotation)) and isinstance(found[-1], Without):
            annotation, left_out = found[0], found[-1].keys
        if is_dataclass(annotation):
            classes[name] = annotation
            groups[name] = {
                field.name: field for field in _parameters(annotation) if field.name not in left_out
            }
            options += groups[name].values()
        else:
            options.append(parameter)

    @functools.wraps(command)
    def wrapper(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = classes[name](**{option: values.pop(option) for option in group})
        command(**values)

    # Keyword-only, as one without a default may then follow one with a default.
    options = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    wrapper.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {option.name: option.annotation for option in options}
    return wrapper


def _parameters(group: Any) -> Iterator[inspect.Parameter]:
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

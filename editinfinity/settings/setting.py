"""Declaration of a setting, and everything that is derived from it.

A setting is a field of a frozen dataclass. The annotation is its type. ``run``, ``case`` or
``edit`` declare its default and its level, i.e. how far down its value may differ. The docstring
below the field (as in ``groups``) is its help text::

    @dataclass(frozen=True)
    class SamplingSettings(SettingsGroup):
        tau: Annotated[float, Number(above=0)] = edit(0.5, sweep=True)

Validation, JSON schema, config.yaml, the table in the documentation, command-line options, params
of rules and the defaults of the Python API are derived from these fields.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_type_hints

from editinfinity.errors import UserError
from editinfinity.names import did_you_mean
from editinfinity.settings.types import InvalidValue, SettingType, format_value

Group = TypeVar("Group", bound="SettingsGroup")


Level = Literal["run", "case", "edit"]
"""Level at which a setting may differ: ``run`` (one value for the whole run); ``case`` (by case,
because all edits of a case share what is trained); ``edit`` (by edit)."""


@dataclass(frozen=True)
class Setting:
    """One key of config.yaml.

    Attributes:
        group: the dataclass that declares it.
        key: name of the setting.
        type: type that validates its values.
        default: value if config.yaml does not set it, in canonical form.
        level: level at which it may differ.
        nullable: whether null is accepted; it means the model's default or another setting's value.
        sweep: whether a list is accepted; one picture is made for each combination of all lists.
        published: guidance → the default with it, if that differs from the others' default. The
            default of config.yaml is then null.
        example: a value as written in config.yaml, for messages.
    """

    group: type[SettingsGroup]
    key: str
    type: SettingType
    default: Any
    level: Level
    nullable: bool
    sweep: bool
    published: Mapping[str, Any]
    example: str

    @property
    def help(self) -> str:
        """The help text, one line without a full stop at its end."""
        return self.group.texts()[self.key]

    @property
    def wording(self) -> str:
        """Description of the accepted values, for messages."""
        return self._wording(", or a list of these" if self.sweep else "")

    def _wording(self, or_list: str) -> str:
        return self.type.wording + or_list + (", or null" if self.nullable else "")

    def parse(self, value: Any) -> Any:
        """Return the canonical form of a value of config.yaml.

        It is a tuple if the setting can be swept, else a single value; null stays None.

        Raises:
            InvalidValue: with the whole message except for the names of the file and the setting.
        """
        if not self.sweep or (self.nullable and value in (None, "null")):
            return self.parse_one(value)
        values = value if isinstance(value, list | tuple) else [value]
        try:
            parsed = [self.type.parse(element) for element in values]
        except InvalidValue:
            parsed = []
        if not parsed:
            raise self._error(value, self.wording)
        return tuple(dict.fromkeys(parsed))

    def parse_one(self, value: Any) -> Any:
        """Return the canonical form of a single value, even if the setting can be swept.

        Raises:
            InvalidValue: see ``parse``.
        """
        if self.nullable and value in (None, "null"):
            return None
        try:
            return self.type.parse(value)
        except InvalidValue:
            raise self._error(value, self._wording("")) from None

    def default_with(self, guidance: str) -> Any:
        """Return the single value that null stands for in an edit with this guidance."""
        plain = self.group.__dataclass_fields__[self.key].default
        return self.published.get(guidance, plain)

    def _error(self, value: Any, wording: str) -> InvalidValue:
        cure = f"write e.g. {self.key}: {self.example}"
        return InvalidValue(f"must be {wording}, got {format_value(value)}; {cure}")

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the setting."""
        options = [self.type.schema()]
        if self.sweep:
            options.append({"type": "array", "minItems": 1, "items": self.type.schema()})
        if self.nullable:
            options.append({"type": "null"})
        accepted = options[0] if len(options) == 1 else {"anyOf": options}
        return {"description": self.help, **accepted}


def _field(
    level: Level, default: Any, *, sweep: bool = False, example: Any = None, **published: Any
) -> Any:
    """Return a dataclass field for a setting; ``example`` is needed if the default is null.

    ``published`` are defaults of other guidances, such as ``aredit=3.0``.
    """
    metadata = {"level": level, "sweep": sweep, "example": example, "published": published}
    return field(default=default, metadata=metadata)


run = functools.partial(_field, "run")
case = functools.partial(_field, "case")
edit = functools.partial(_field, "edit")


@dataclass(frozen=True)
class SettingsGroup:
    """Settings that belong together: a frozen dataclass whose fields are settings.

    Creating an instance converts each value to its canonical form.

    Attributes:
        heading: heading of the group's section in config.yaml; if empty, the group continues the
            previous section.

    Raises:
        UserError: values are not valid; the message lists all of them.
    """

    heading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        faults = []
        for key, setting in self.settings().items():
            value = getattr(self, key)
            try:
                parsed = setting.parse_one(value)
            except InvalidValue as error:
                faults.append(f"{key}: {error}")
            else:
                if parsed is None and setting.published:
                    parsed = setting.default_with("")
                object.__setattr__(self, key, parsed)
        if faults:
            raise UserError("; ".join(faults))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Create the group from values by key; missing keys take defaults, others are ignored."""
        return cls(**{key: values[key] for key in cls.settings() if key in values})

    @classmethod
    @functools.cache
    def settings(cls) -> Mapping[str, Setting]:
        """Return the settings of the group by key, in the order of declaration."""
        hints = get_type_hints(cls, include_extras=True)
        settings = {}
        for declared in fields(cls):
            value_type, setting_type = get_args(hints[declared.name])
            metadata, default = declared.metadata, declared.default
            published = metadata["published"]
            config_default = None if published else default
            settings[declared.name] = Setting(
                cls,
                declared.name,
                setting_type,
                (default,) if metadata["sweep"] and config_default is not None else config_default,
                metadata["level"],
                NoneType in get_args(value_type) or bool(published),
                metadata["sweep"],
                published,
                as_yaml(default if metadata["example"] is None else metadata["example"]),
            )
        return settings

    @classmethod
    @functools.cache
    def texts(cls) -> Mapping[str, str]:
        """Return field → docstring below it, parsed from the source, as Python does not keep it."""
        tree = _classes_of(cls.__module__)[cls.__name__]
        return {
            field.target.id: " ".join(str(text.value.value).split()).removesuffix(".")
            for field, text in itertools.pairwise(tree.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        }


@functools.cache
def _classes_of(module: str) -> dict[str, ast.ClassDef]:
    """Return name → syntax tree of the classes of a module; ``inspect`` would parse it for each."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}


def make_groups(values: Mapping[str, Any], *groups: type[SettingsGroup]) -> list[Any]:
    """Create an instance of each settings group from the keyword arguments of a Python function.

    Args:
        values: setting → value; missing settings take their defaults.
        groups: the groups whose settings the function accepts.

    Returns:
        An instance of each group, in the order of ``groups``.

    Raises:
        UserError: a key belongs to none of the groups, or values of a group are not valid.
    """
    known = [key for group in groups for key in group.settings()]
    for key in values:
        if key not in known:
            raise UserError(f"{key}: is not a setting accepted here{did_you_mean(key, known)}")
    return [group.of(values) for group in groups]


def as_yaml(value: Any) -> str:
    """Format a canonical value for config.yaml: switches as 0 and 1, numbers in shortest form."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        digits, e, power = f"{value:.15g}".partition("e")
        return digits if not e else f"{float(digits)}e{int(power)}"  # YAML 1.1 needs the point
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_yaml, value))}]"
    return "null" if value is None else str(value)


def accept_former_names(**names: str | tuple[str, ...]) -> Callable[[type[Group]], type[Group]]:
    """Return a class decorator, to be put above ``@dataclass``.

    It lets the constructor accept former names as keyword arguments, with a warning.

    Args:
        names: former name → current name, or several that all get the value.
    """

    def decorate(group: type[Group]) -> type[Group]:
        original_init = group.__init__

        @functools.wraps(original_init)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            for old, new in names.items():
                if old in kwargs:
                    new_names = (new,) if isinstance(new, str) else new
                    message = f"{group.__name__}: {old} is now {' and '.join(new_names)}"
                    warnings.warn(message, DeprecationWarning, stacklevel=2)
                    kwargs |= dict.fromkeys(new_names, kwargs.pop(old))
            original_init(self, *args, **kwargs)

        group.__init__ = init  # type: ignore[method-assign]
        return group

    return decorate

"""One setting: what is declared of it, and what follows from that.

A setting is a field of a frozen dataclass: the annotation is its type, ``run``, ``case`` or
``edit`` say its default and how far down it may differ, and a text below it (as in
``groups``) what it does::

    @dataclass(frozen=True)
    class SamplingSettings(SettingsGroup):
        tau: Annotated[float, Number(above=0)] = edit(0.5, sweep=True)

Validation, JSON schema, config.yaml, the table in the documentation, options of commands, params of
rules and the defaults of Python follow from these fields.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_type_hints

from editinfinity.errors import UserError
from editinfinity.names import did_you_mean
from editinfinity.settings.types import InvalidValue, SettingType, shown

Group = TypeVar("Group", bound="SettingsGroup")


Level = Literal["run", "case", "edit"]
"""How far down a setting may differ: not at all; by case, because all edits of a case share what is
trained; by edit."""


@dataclass(frozen=True)
class Setting:
    """One key of config.yaml.

    Attributes:
        group: the dataclass that declares it.
        key: its name.
        type: which values it accepts.
        default: the value where config.yaml leaves it out, in canonical form.
        level: how far down it may differ.
        nullable: null is accepted and means "the model's own" or "follow another setting".
        sweep: a list is accepted; the product of all lists is drawn.
        example: a value as config.yaml would have it, for messages.
    """

    group: type[SettingsGroup]
    key: str
    type: SettingType
    default: Any
    level: Level
    nullable: bool
    sweep: bool
    example: str

    @property
    def help(self) -> str:
        """What it does, in a line without a full stop at its end."""
        return self.group.texts()[self.key]

    @property
    def wording(self) -> str:
        """What config.yaml accepts, in words."""
        return self._wording(", or a list of such" if self.sweep else "")

    def _wording(self, several: str) -> str:
        return self.type.wording + several + (", or null" if self.nullable else "")

    def parse(self, value: Any) -> Any:
        """The canonical form of a value of config.yaml: a tuple for settings that sweep, else one.

        Raises:
            InvalidValue: with the whole complaint but for the file's and the setting's name.
        """
        if not self.sweep or (self.nullable and value in (None, "null")):
            return self.parse_one(value)
        values = value if isinstance(value, list | tuple) else [value]
        try:
            parsed = [self.type.parse(element) for element in values]
        except InvalidValue:
            parsed = []
        if not parsed:
            raise self._complaint(value, self.wording)
        return tuple(dict.fromkeys(parsed))

    def parse_one(self, value: Any) -> Any:
        """The canonical form of one value, of a setting that sweeps too.

        Raises:
            InvalidValue: as ``parse``.
        """
        if self.nullable and value in (None, "null"):
            return None
        try:
            return self.type.parse(value)
        except InvalidValue:
            raise self._complaint(value, self._wording("")) from None

    def _complaint(self, value: Any, wording: str) -> InvalidValue:
        cure = f"write e.g. {self.key}: {self.example}"
        return InvalidValue(f"must be {wording}, got {shown(value)}; {cure}")

    def schema(self) -> dict[str, Any]:
        """The setting as JSON schema."""
        options = [self.type.schema()]
        if self.sweep:
            options.append({"type": "array", "minItems": 1, "items": self.type.schema()})
        if self.nullable:
            options.append({"type": "null"})
        accepted = options[0] if len(options) == 1 else {"anyOf": options}
        return {"description": self.help, **accepted}


def _declared(level: Level, default: Any, *, sweep: bool = False, example: Any = None) -> Any:
    """A field of a group of settings; ``example`` where the default is null."""
    facts = {"level": level, "sweep": sweep, "example": example}
    return field(default=default, metadata=facts)


run = functools.partial(_declared, "run")
case = functools.partial(_declared, "case")
edit = functools.partial(_declared, "edit")


@dataclass(frozen=True)
class SettingsGroup:
    """Settings that belong together: a frozen dataclass whose fields are settings.

    Making one turns each value into its canonical form.

    Attributes:
        heading: of its section in config.yaml; where it is empty, the section before goes on.

    Raises:
        UserError: values are not valid, with all of them.
    """

    heading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        faults = []
        for key, setting in self.settings().items():
            value = getattr(self, key)
            try:
                one = setting.parse_one(value)
            except InvalidValue as fault:
                faults.append(f"{key}: {fault}")
            else:
                object.__setattr__(self, key, one)
        if faults:
            raise UserError("; ".join(faults))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The group with its values of those by key; what is not there takes its default."""
        return cls(**{key: values[key] for key in cls.settings() if key in values})

    @classmethod
    @functools.cache
    def settings(cls) -> Mapping[str, Setting]:
        """The settings of the group by key, in the order they are declared."""
        hints = get_type_hints(cls, include_extras=True)
        found = {}
        for each in fields(cls):
            value, setting_type = get_args(hints[each.name])
            facts, default = each.metadata, each.default
            found[each.name] = Setting(
                cls,
                each.name,
                setting_type,
                (default,) if facts["sweep"] and default is not None else default,
                facts["level"],
                NoneType in get_args(value),
                facts["sweep"],
                as_yaml(default if facts["example"] is None else facts["example"]),
            )
        return found

    @classmethod
    @functools.cache
    def texts(cls) -> Mapping[str, str]:
        """Field → the text below it, which Python does not keep: read from the source if asked."""
        (tree,) = ast.parse(inspect.getsource(cls)).body
        assert isinstance(tree, ast.ClassDef)
        return {
            field.target.id: " ".join(str(text.value.value).split()).removesuffix(".")
            for field, text in itertools.pairwise(tree.body)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        }


def divided(given: Mapping[str, Any], *groups: type[SettingsGroup]) -> list[Any]:
    """Settings by key, as an object of each group.

    Raises:
        UserError: a key is of none of the groups, or values are not valid.
    """
    known = [key for group in groups for key in group.settings()]
    for key in given:
        if key not in known:
            raise UserError(f"{key}: is no setting of these{did_you_mean(key, known)}")
    return [group.of(given) for group in groups]


def as_yaml(value: Any) -> str:
    """A canonical value as config.yaml has it: switches as 0 and 1, numbers as short as can be."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        digits, e, power = f"{value:.15g}".partition("e")
        return digits if not e else f"{float(digits)}e{int(power)}"  # YAML 1.1 wants the point
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_yaml, value))}]"
    return "null" if value is None else str(value)


def renamed(**names: str | tuple[str, ...]) -> Callable[[type[Group]], type[Group]]:
    """Accept earlier names of a group's settings, with a warning.

    Args:
        names: earlier name → the names that took its place.
    """

    def accept(group: type[Group]) -> type[Group]:
        make = group.__init__

        @functools.wraps(make)
        def init(self: Any, *args: Any, **given: Any) -> None:
            for old, new in names.items():
                if old in given:
                    now = (new,) if isinstance(new, str) else new
                    told = f"{group.__name__}: {old} is now {' and '.join(now)}"
                    warnings.warn(told, DeprecationWarning, stacklevel=2)
                    given |= dict.fromkeys(now, given.pop(old))
            make(self, *args, **given)

        group.__init__ = init  # type: ignore[method-assign]
        return group

    return accept

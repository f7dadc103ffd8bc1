"""The cases of a run: photographs, their prompts and masks, and the settings of each edit.

A case comes from a folder below ``data`` or from rows of cases.tsv (design document "workflow").
Nothing here opens an image or judges a prompt: faults of a case must not stop the others, so what
is wrong is kept with the case, for its ``check`` job to report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from editinfinity.names import printable
from editinfinity.workflow.config import Config, ConfigError, did_you_mean

Text = Path | str
"""A prompt or a word: a UTF-8 file, or the text itself (as a table gives it)."""

Hold = Callable[[Iterable[Path]], None]
"""Told the folders or files of cases before they are read (``in_use.hold``)."""

MaskUse = Literal["mask_source", "judged_mask"]
"""Which of an edit's two masks is meant: the one that it is drawn under, or that metrics go by; the
attribute of ``Edit`` that says where that comes from."""

DRAW_FREELY, MAP_ONLY, BLEND = 0, 1, 2
"""Values of ``infer_function``, as the original guide numbers them."""


@dataclass(frozen=True)
class Edit:
    """One edit of a case.

    Attributes:
        name: its name, ``edit`` unless the user gave one.
        prompt: what the edited picture shows.
        mask: the user's mask, whether it is used or not.
        target_word: word of the source prompt to segment, whether it is used or not.
        settings: all settings of this edit, canonical.
    """

    name: str
    prompt: Text
    mask: Path | None
    target_word: Text | None
    settings: Mapping[str, Any]

    @property
    def infer_function(self) -> int:
        """What is drawn: ``DRAW_FREELY``, ``MAP_ONLY`` or ``BLEND``; null follows the mask."""
        forced = self.settings["infer_function"]
        if forced is not None:
            return int(forced)
        return DRAW_FREELY if self._mask_source_unforced == "none" else BLEND

    @property
    def _mask_source_unforced(self) -> str:
        asked = str(self.settings["mask_source"])
        if asked != "auto":
            return asked
        if self.mask is not None:
            return "user"
        return "none" if self.target_word is None else "attention"

    @property
    def mask_source(self) -> str:
        """Where the mask comes from: ``user``, ``attention`` or ``none``."""
        match self.infer_function:
            case 0:
                return "none"
            case 1:
                return "attention"
            case _:
                return self._mask_source_unforced

    @property
    def goes_everywhere_unasked(self) -> bool:
        """Whether everything may change only because there is neither a mask nor a word."""
        asked = (
            self.settings["mask_source"] != "auto" or self.settings["infer_function"] is not None
        )
        return not asked and self.mask_source == "none"

    @property
    def judged_mask(self) -> str:
        """Whose mask metrics go by: the user's where there is one, used or not, else the edit's."""
        return "user" if self.mask is not None else self.mask_source

    def faults(self) -> list[str]:
        """What the edit asks for and the case does not have, a line each."""
        source, given = self.mask_source, self.settings["mask_source"]
        if self.infer_function == BLEND and source == "none":
            return [
                f"edit {self.name}: infer_function: 2 blends under a mask, but there is none; add "
                "image/mask.png or prompt/target_word.txt, or set infer_function: 0"
            ]
        if source == "user" and self.mask is None:
            return [
                f"edit {self.name}: mask_source: {given}: there is no mask; add image/mask.png or "
                "set mask_source: auto"
            ]
        if source == "attention" and self.target_word is None:
            return [
                f"edit {self.name}: an attention map needs a target word; add "
                "prompt/target_word.txt with a word of the source prompt"
            ]
        return []


@dataclass(frozen=True)
class Case:
    """One photograph with its edits.

    Attributes:
        name: folder of the results.
        image: the photograph (which may be missing).
        source_prompt: describes it; None where the user gave none.
        edits: by name, in the order they run.
        settings: what training and encoding use, canonical.
        faults: what is plainly wrong, a line each, for ``check`` to report.
    """

    name: str
    image: Path
    source_prompt: Text | None
    edits: Mapping[str, Edit]
    settings: Mapping[str, Any]
    faults: tuple[str, ...] = ()

    def all_faults(self) -> list[str]:
        """Faults of the case and of its edits, each naming the case."""
        lines = [*self.faults, *(line for edit in self.edits.values() for line in edit.faults())]
        return [f"{self.name}: {line}" for line in lines]


@dataclass(frozen=True)
class Cases:
    """The cases that were asked for.

    Attributes:
        by_name: in the order they run.
        notices: a line for each folder or file that was passed over, and what may not be meant.
    """

    by_name: Mapping[str, Case]
    notices: tuple[str, ...] = field(default=())


def load_cases(config: Config, hold: Hold = lambda paths: None) -> Cases:
    """Find the cases a configuration asks for.

    Args:
        config: the configuration.
        hold: keeps what the cases are read from as it is.

    Raises:
        ConfigError: a named case does not exist, there are none, or the table is not usable.
    """
    if config.settings["pie_bench"] is not None:
        from editinfinity.pie_bench.cases import cases_of, chosen_entries

        benchmark = chosen_entries(config)
        _check_overrides(config, [entry.name for entry in benchmark.entries])
        return _holding(cases_of(benchmark, config), hold)
    if config.table is not None:
        from editinfinity.workflow.table import read_table

        notices: list[str] = []
        rows = read_table(config.table, config, notices)
        _check_overrides(config, rows)
        part = {name: rows[name] for name in config.slice_of(list(rows))}
        return _holding(Cases(part, tuple(notices)), hold)
    from editinfinity.workflow.folders import find_folders, read_folder

    folders, notices = find_folders(config.data)
    chosen = folders if config.cases is None else list(config.cases)
    lines = [_no_folder(config, name, folders) for name in chosen if not _exists(config, name)]
    if not chosen:
        lines.append(f"{config.data}: holds no case; add {config.data}/NAME/image and prompt")
    if lines:
        raise ConfigError(lines)
    _check_overrides(config, folders)
    names = config.slice_of(chosen)
    hold(config.data / name for name in names)
    by_name = {}
    for name in names:
        by_name[name], passed_over = read_folder(name, config)
        notices.extend(passed_over)
    return Cases(by_name, tuple(notices))


def load_case(config: Config, name: str, hold: Hold = lambda paths: None) -> Case:
    """One case, as a job needs it again.

    Args:
        config: the configuration.
        name: of the case.
        hold: as of ``load_cases``.

    Raises:
        ConfigError: there is no such case, or the table is not usable.
    """
    if is_by_folder(config):
        from editinfinity.workflow.folders import find_folders, read_folder

        if not _exists(config, name):
            raise ConfigError([_no_folder(config, name, find_folders(config.data)[0])])
        hold([config.data / name])
        return read_folder(name, config)[0]
    cases = load_cases(config, hold).by_name
    if name not in cases:
        raise ConfigError(
            [f"{config.table or 'pie_bench'}: has no case {printable(name)}; add its row"]
        )
    return cases[name]


def _holding(cases: Cases, hold: Hold) -> Cases:
    """Cases whose files lie anywhere, which are held one by one."""
    edits = [edit for case in cases.by_name.values() for edit in case.edits.values()]
    hold(case.image for case in cases.by_name.values())
    hold(edit.mask for edit in edits if edit.mask is not None)
    return cases


def is_by_folder(config: Config) -> bool:
    """Whether cases are folders below ``data``, not rows of a table or of a benchmark."""
    return config.table is None and config.settings["pie_bench"] is None


def _exists(config: Config, name: str) -> bool:
    return (config.data / name).is_dir()


def _no_folder(config: Config, name: str, folders: list[str]) -> str:
    cure = did_you_mean(name, folders) or "; make it, or correct the name"
    return f"{config.source}: cases: there is no folder {config.data}/{printable(name)}{cure}"


def _check_overrides(config: Config, known: Any) -> None:
    """A misspelt case below ``overrides`` would be ignored in silence."""
    names = list(known)
    lines = [
        f"{config.source}: overrides: there is no case {printable(name)}"
        f"{did_you_mean(name, names) or '; correct the name or remove it'}"
        for name in config.overrides
        if name not in names and not (is_by_folder(config) and _exists(config, name))
    ]
    if lines:
        raise ConfigError(lines)

"""Read the photograph, prompts and masks in a case folder of the original EditInfinity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from editinfinity.cases.case import Edit
from editinfinity.cases.create import NewEdit
from editinfinity.cases.folders import read_folder
from editinfinity.config.load import Config
from editinfinity.errors import UserError
from editinfinity.files.prompts import read_prompt, read_target_word


@dataclass(frozen=True)
class UpstreamCase:
    """What ``make_case`` needs for a case folder of the original.

    Attributes:
        image: the photograph.
        source_prompt: its description; None if there is none.
        edits: edits by name.
        notices: one line for each file that has another name, or is left out.
    """

    image: Path
    source_prompt: str | None
    edits: Mapping[str, NewEdit]
    notices: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, config: Config, with_mask: bool) -> UpstreamCase:
        """Read a folder.

        The original draws ``image/mask.png`` itself where it finds the edited region by a target
        word, so a mask beside a target word is left out.

        Args:
            folder: the case folder.
            config: the configuration of the project.
            with_mask: whether a mask beside a target word is used too.

        Raises:
            UserError: a file is missing or cannot be read.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; give a case folder of the original")
        path = folder.resolve()
        case, notices = read_folder(path.name, replace(config, data=path.parent))
        if case.faults:
            raise UserError("; ".join(case.faults))
        left_out = {
            edit.mask
            for edit in case.edits.values()
            if edit.mask and edit.target_word is not None and not with_mask
        }
        notices += [
            f"{mask}: is left out, as the original draws it from the target word; add --with-mask "
            "if it is your own"
            for mask in sorted(left_out)
        ]
        source = case.source_prompt
        return cls(
            case.image,
            None if source is None else read_prompt(source, may_be_empty=True),
            {name: _new_edit(edit, left_out) for name, edit in case.edits.items()},
            tuple(notices),
        )


def _new_edit(edit: Edit, left_out: set[Path]) -> NewEdit:
    word = None if edit.target_word is None else read_target_word(edit.target_word)
    mask = None if edit.mask in left_out else edit.mask
    return NewEdit(read_prompt(edit.prompt), mask, target_word=word)

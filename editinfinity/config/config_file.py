"""Find a project's config.yaml and read it strictly: each fault is one line that names the remedy.

Separate from :mod:`editinfinity.config.load`, since jobs get the configuration from Snakemake and
need not import a YAML reader.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from editinfinity.config.load import ConfigError
from editinfinity.errors import UserError, first_sentence
from editinfinity.files.input_files import require_file
from editinfinity.files.near_names import Slot, assign_files
from editinfinity.settings.types import format_value

_CONFIG = Slot("config", (".yaml",), (".yml", ".txt"))

_MAX_BYTES = 2**20
"""Maximum size of a configuration file, in bytes."""


def find_config_file(folder: Path) -> tuple[Path, list[str]]:
    """Return (path of config.yaml in a run's folder, which may be missing; notices).

    A file whose name is nearly right is used in its place, with a notice.

    Raises:
        ConfigError: several files have nearly the right name, or the name of one is misspelt.
    """
    path = folder / _CONFIG.right_name()
    try:
        names = sorted(file.name for file in folder.iterdir())
    except OSError:
        return path, []
    # Files with other endings (config.json) belong to other programs.
    endings = (*_CONFIG.endings, *_CONFIG.also_read, "")
    assigned = assign_files(
        folder, [name for name in names if Path(name).suffix.lower() in endings], [_CONFIG]
    )
    faults = [*assigned.faults, *(line for slot_name, line in assigned.unused if slot_name)]
    if faults:
        raise ConfigError(faults)
    return assigned.paths.get(_CONFIG.name, path), assigned.notices


def read_config_file(folder: Path) -> tuple[dict[object, object], Path, list[str]]:
    """Return (content of a project's configuration file, its path, notices about its name).

    The content is empty if there is no such file.

    Raises:
        ConfigError: as for ``find_config_file`` and ``check_yaml``.
    """
    path, notices = find_config_file(folder)
    if not path.exists() or not check_yaml(path):
        return {}, path, notices
    return yaml.safe_load(path.read_text("utf-8")), path, notices


class StrictLoader(yaml.SafeLoader):
    """Safe YAML loader that rejects duplicate keys and aliases.

    Of a duplicate key, the first value would be lost silently. With aliases, a few lines could
    expand to more than fits into memory, or refer to themselves.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                problem=f"*{event.anchor} is an alias; write out the value it refers to",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        keys = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key is in brackets; write it as a word, `setting: value`",
                    problem_mark=key_node.start_mark,
                )
            if key_node.value in keys:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key_node.value} occurs twice; keep one",
                    problem_mark=key_node.start_mark,
                )
            keys.add(key_node.value)
        return super().construct_mapping(node, deep)


def check_yaml(path: Path) -> bool:
    """Check that Snakemake can read a configuration file.

    Returns:
        Whether it sets anything: Snakemake rejects a file that contains only comments.

    Raises:
        ConfigError: it is not UTF-8, not YAML, not a mapping, or contains a duplicate key.
    """
    try:
        require_file(path, _MAX_BYTES, "correct the file")
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except UserError as error:
        raise ConfigError([str(error)]) from None
    except RecursionError:
        raise ConfigError([f"{path}: has too deeply nested brackets; remove some"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8; save it as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); check it"]) from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        problem = error.problem or "is not valid YAML"
        cure = "" if ";" in problem else "; correct it"
        raise ConfigError([f"{path}: {line}{problem}{cure}"]) from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:
        # PyYAML raises the others for malformed dates, numbers and tagged values.
        raise ConfigError(
            [f"{path}: is not valid YAML ({first_sentence(error)}); correct it"]
        ) from None
    if content is not None and not isinstance(content, dict):
        raise ConfigError(
            [f"{path}: must be lines of `setting: value`, got {format_value(content)}; correct it"]
        )
    return content is not None

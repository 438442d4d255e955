"""One frozen settings tree: read from YAML files and `path=value` overrides, dumped, flattened, fingerprinted.

Settings classes stand beside the component they configure and derive from `Settings`. A choice between components is a
union on `kind`; an optional component is `X | None`. Files and overrides apply from left to right, the later one wins.
YAML is read as YAML 1.2, so `3e-4` is a number, `no` is text and a duplicate key is an error.
"""

import copy
import difflib
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError


class Settings(BaseModel):
    """A node of the settings tree: immutable, unknown keys refused. `schema_version` enters the fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: ClassVar[int] = 1


class SettingsError(ValueError):
    """A user's mistake in a recipe or an override; the text is one line and names the setting."""


Tree = TypeVar("Tree", bound=Settings)
_LOGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/?#]*@")
"""An address that holds a user name or a password."""


def load(tree: type[Tree], arguments: Iterable[str], below: dict[str, Any] | None = None) -> Tree:
    """Builds `tree` from recipe files and `path=value` overrides, applied from left to right over the mapping `below`.

    Raises SettingsError with one line for a missing file, bad YAML, an unknown setting or a refused value.
    """
    document = copy.deepcopy(below or {})
    for argument in arguments:
        path, equals, value = argument.partition("=")
        if equals and not Path(argument).exists():
            override(document, path, read_value(value, argument))
        else:
            document = merge(document, read_yaml(Path(argument)))
    return parse(tree, document)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds. Raises SettingsError where it is missing or is no mapping."""
    try:
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot read this recipe ({error.strerror})") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid YAML ({_fault(error)})") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: a recipe is a mapping of settings, this file holds {type(document).__name__}")
    return document


def read_value(text: str, argument: str) -> Any:
    """The right side of an override, read as YAML."""
    try:
        return YAML(typ="safe").load(text) if text else ""
    except YAMLError:
        raise SettingsError(f"{argument.partition('=')[0]}: the value is not valid YAML") from None


def _fault(error: YAMLError | UnicodeDecodeError) -> str:
    """What is wrong and where, without the lines around it: they may hold what must not be shown."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else type(error).__name__


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mapping by mapping. A mapping that names another `kind` replaces the one below whole."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            value = merge(old, value)
        merged[key] = value
    return merged


def override(document: dict[str, Any], path: str, value: Any) -> None:
    """Sets `path` (dotted; a number indexes a list) in `document` in place."""
    node: Any = document
    *parents, last = path.split(".")
    for name in parents:
        if isinstance(node, list):
            node = node[_index(node, name, path)]
        else:
            if node.get(name) is None:
                node[name] = {}
            node = node[name]
        if not isinstance(node, dict | list):
            raise SettingsError(f"{path}: {name} is a single value, nothing can be set below it")
    if isinstance(node, list):
        node[_index(node, last, path)] = value
    else:
        node.update(merge(node, {last: value}))


def _index(items: list[Any], name: str, path: str) -> int:
    if not name.isdigit() or int(name) >= len(items):
        raise SettingsError(f"{path}: {name} is no position in a list of {len(items)}")
    return int(name)


def parse(tree: type[Tree], document: dict[str, Any]) -> Tree:
    """Validates `document`. Raises SettingsError with one line a mistake; no value but the faulty one is echoed, and
    none that holds a user name or a password: settings are stored, logged and shown."""
    if path := next(_logins(document, ""), None):
        raise SettingsError(
            f"{path}: this address holds a user name or a password; settings are kept and shown, so give those by the "
            "environment (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, AWS_*), and here the address alone"
        )
    try:
        return tree.model_validate(_with_default_kinds(tree, document))
    except ValidationError as error:
        lines = [_line(tree, fault) for fault in error.errors(include_url=False, include_context=True)]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from None


def _logins(node: Any, path: str) -> Iterator[str]:
    """Paths of texts that hold one."""
    if isinstance(node, str) and _LOGIN.search(node):
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    for name, value in items:
        yield from _logins(value, f"{path}.{name}" if path else str(name))


def _with_default_kinds(model: type[BaseModel], document: dict[str, Any]) -> dict[str, Any]:
    """`document` with the default's `kind` written where a mapping changes settings of a default without naming it."""
    completed = dict(document)
    for name, value in document.items():
        field = model.model_fields.get(name)
        if field is None or not isinstance(value, dict):
            continue
        default = field.get_default(call_default_factory=True) if not field.is_required() else None
        if isinstance(default, Settings):
            kind = {"kind": _kind(type(default))} if _kind(type(default)) else {}
            value = kind | value
            same = _kind(type(default)) == value.get("kind")
            completed[name] = _with_default_kinds(type(default), value) if same else value
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            completed[name] = _with_default_kinds(field.annotation, value)
    return completed


def _line(tree: type[Settings], fault: Any) -> str:
    location = [str(part) for part in fault["loc"]]
    path = _written_path(tree, location)
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _names(tree, location[:-1]), n=1)
        parent = path.rpartition(".")[0]
        hint = f"; did you mean {parent + '.' if parent else ''}{near[0]}?" if near else ""
        return f"{path}: no such setting{hint}"
    if fault["type"] == "missing":
        return f"{path}: this setting is required"
    if fault["type"] == "union_tag_invalid":
        allowed = fault["ctx"]["expected_tags"].replace("'", "")
        near = difflib.get_close_matches(str(fault["ctx"]["tag"]), allowed.split(", "), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{path}.kind: {fault['ctx']['tag']!r} is no known kind; allowed: {allowed}{hint}"
    if fault["type"] == "union_tag_not_found":
        return f"{path}.kind: this setting is required"
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    shown = f" (given {value!r})" if isinstance(value, str | int | float | bool) else ""
    return f"{path}: {message[0].lower()}{message[1:]}{shown}"


def _written_path(tree: type[Settings], location: list[str]) -> str:
    """The path as a user writes it: pydantic puts the kind of a union into the location, recipes do not."""
    written, node = [], {tree}
    for position, name in enumerate(location):
        known = {field for model in node for field in model.model_fields}
        is_tag = bool(node) and name not in known and any(_kind(model) == name for model in node)
        if is_tag:
            node = {model for model in node if _kind(model) == name}
            continue
        written.append(name)
        if not name.isdigit():
            node = {inner for model in node for inner in _inner(model, name)} if name in known else set()
            if not node and position == len(location) - 1:
                break
    return ".".join(written)


def _names(tree: type[Settings], location: list[str]) -> list[str]:
    node = {tree}
    for name in location:
        if any(_kind(model) == name for model in node):
            node = {model for model in node if _kind(model) == name}
        elif not name.isdigit():
            node = {inner for model in node for inner in _inner(model, name)}
    return sorted({field for model in node for field in model.model_fields})


def _kind(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else getattr(field.annotation, "__args__", (None,))[0]


def _inner(model: type[BaseModel], name: str) -> set[type[BaseModel]]:
    """The settings classes that the annotation of a field mentions."""
    found: set[type[BaseModel]] = set()
    pending: list[Any] = [model.model_fields[name].annotation] if name in model.model_fields else []
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.add(annotation)
        pending.extend(getattr(annotation, "__args__", ()))
    return found


def differences(settings: Settings) -> dict[str, Any]:
    """Only what differs from the defaults, as plain JSON data: what a recipe file would have to say."""
    return settings.model_dump(mode="json", exclude_defaults=True)


def dump_yaml(settings: Settings, whole: bool = False) -> str:
    """The tree as a recipe: what differs from the defaults, or every setting where `whole`."""
    return yaml_text(settings.model_dump(mode="json") if whole else differences(settings))


def yaml_text(tree: dict[str, Any]) -> str:
    """A tree of plain values in block style, in its own order."""
    stream = io.StringIO()
    yaml = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]  # keeps their order
    yaml.dump(tree, stream)
    return stream.getvalue()


def flatten(settings: Settings) -> dict[str, Any]:
    """Every leaf as `path: value`, for parameter logs. Empty lists and mappings are leaves."""
    leaves: dict[str, Any] = {}

    def walk(path: str, node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
        if not items or not node:
            leaves[path] = node
            return
        for name, value in items:
            walk(f"{path}.{name}" if path else str(name), value)

    walk("", settings.model_dump(mode="json"))
    return leaves


def fingerprint(parts: dict[str, Settings | str]) -> str:
    """16 hex digits that name an identity: each part's differences from its defaults and its schema version.

    A new setting with a default changes no old fingerprint. A text (a dataset digest) enters as it is.
    """
    identity = {
        name: part if isinstance(part, str) else [type(part).schema_version, differences(part)]
        for name, part in parts.items()
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

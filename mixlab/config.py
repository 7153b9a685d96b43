"""Plain mappings (from YAML, from hydra, from the app) into the frozen types, strictly.

Every error names the dotted path, the value, what is allowed and the nearest name.
"""

import dataclasses
import math
import types as pytypes
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import yaml

from mixlab.bounds import check
from mixlab.errors import ConfigError, nearest
from mixlab.types import RunSpec, Source

T = TypeVar("T")
CONF = Path(__file__).parent / "conf"
"""The packaged config groups."""
ENTRY_ONLY = frozenset({"design", "sweep", "hydra"})
"""Top-level keys of a composed config that steer the entry point and are no part of a run."""


def run_spec(tree: Mapping[str, Any]) -> RunSpec:
    """The run that a composed config describes. `sources` is a mapping by name there and a tuple here."""
    told = {k: v for k, v in tree.items() if k not in ENTRY_ONLY and v is not None}
    sources: Mapping[str, Mapping[str, Any] | None] | str | None = told.get("sources")
    if not isinstance(sources, Mapping) or not sources:
        raise ConfigError("sources: no source was chosen; name some, e.g. source=starter or source=[wiki,code].")
    for name, given in sources.items():
        if isinstance(given, Mapping) and given.get("name", name) != name:
            raise ConfigError(f"sources.{name}.name: is '{given['name']}', but the file and package say '{name}'.")
    told["sources"] = [{"name": n, **(s or {})} for n, s in sorted(sources.items())]
    spec = convert(RunSpec, told)
    check(spec)
    return spec


def convert(cls: type[T], value: Any, path: str = "") -> T:
    """`value` as an instance of the dataclass `cls`; unknown keys, wrong types and values are ConfigErrors."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path or cls.__name__}: expected a mapping of settings, got {_shown(value)}.")
    told = cast("Mapping[str, Any]", value)
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # cls is a dataclass of types.py
    for key in told:
        if key not in fields:
            raise ConfigError(f"{_join(path, str(key))}: there is no such setting.{nearest(str(key), fields)}")
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in told:
            raise ConfigError(f"{_join(path, name)}: this setting is required and missing.")
    given = {n: v for n, v in told.items() if v is not None or not _is_mapping(hints[n])}
    return cls(**{n: _value(hints[n], v, _join(path, n)) for n, v in given.items()})


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as a mapping; what is wrong with it is told with file and line."""
    try:
        tree: dict[str, Any] | list[Any] | str | None = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(e).split())}") from e
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {_shown(tree)}.")
    return tree


def yaml_text(tree: Mapping[str, Any]) -> str:
    """`tree` as YAML, in its own order and with its letters as they are."""
    return yaml.safe_dump(  # pyright: ignore[reportUnknownMemberType]  # its stub's FloatInt is unknown to pyright
        dict(tree), sort_keys=False, allow_unicode=True
    )


def load_source(file: Path) -> Source:
    """The source that one YAML describes."""
    return convert(Source, {"name": file.stem, **read_yaml(file)}, f"{file.name}")


def _value(hint: Any, value: Any, path: str) -> Any:
    """`value` checked against one annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, pytypes.UnionType):
        if value is None and type(None) in args:
            return None
        inner, *words = sorted((a for a in args if a is not type(None)), key=lambda a: get_origin(a) is Literal)
        if words and isinstance(value, str):  # a number, or a word such as auto
            inner = words[0]
        return _value(inner, value, path)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{path}: {_shown(value)} is not possible.{nearest(str(value), map(str, args))}")
        return value
    if origin is tuple:
        return _tuple(args, value, path)
    if _is_mapping(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path}: expected a mapping, got {_shown(value)}.")
        told = cast("Mapping[Any, Any]", value)
        return {str(k): _value(args[1], v, _join(path, str(k))) for k, v in told.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else convert(hint, value, path)
    return _scalar(hint, value, path)


def _is_mapping(hint: Any) -> bool:
    """True for mapping fields, where null stands for the default: hydra cannot fill an empty mapping from a shell."""
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _tuple(args: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path}: expected a list, got {_shown(value)}.")
    given = cast("list[Any]", value)
    if args[-1] is Ellipsis:
        return tuple(_value(args[0], v, f"{path}[{i}]") for i, v in enumerate(given))
    if len(given) != len(args):
        raise ConfigError(f"{path}: expected {len(args)} values, got {len(given)}.")
    return tuple(_value(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(args, given, strict=True)))


def _scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is Any or hint is object:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ConfigError(f"{path}: {value} is not a finite number.")
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # 1e6 in YAML and on the command line
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    raise ConfigError(f"{path}: expected {names.get(hint, hint)}, got {_shown(value)}.")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."

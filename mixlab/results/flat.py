"""Values of JSON files as tables hold them: nested settings as rows of dotted keys, times, keys. Arithmetic only."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any] | list[Any] | str | float | None
"""What a JSON file may hold."""


def flatten(value: Json, key: str = "") -> Iterator[dict[str, Any]]:
    """A nested config as rows `key, value_text, value_num`; entries of a list are named by their `name`.

    >>> [row["key"] for row in flatten({"model": {"d_model": 64}, "sources": [{"name": "wiki", "kind": "pypi"}]})]
    ['model.d_model', 'sources.wiki.name', 'sources.wiki.kind']
    """
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value and all(isinstance(v, Mapping) and "name" in v for v in value):
        yield from flatten({v["name"]: v for v in value}, key)
    else:
        number = float(value) if isinstance(value, int | float) else None
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield {"key": key, "value_text": text, "value_num": number}


def mix_key(weights: Mapping[str, float] | None) -> str | None:
    """8 hex digits that name a mixture by its weights, rounded to 1e-9; None without weights."""
    told = {source: round(weight, 9) for source, weight in sorted((weights or {}).items()) if weight}
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8] if told else None


def stamp(seconds: float | None) -> int | None:
    """Microseconds since 1970, UTC."""
    return None if seconds is None else round(seconds * 1e6)


def digest(value: Any) -> str | None:
    """8 hex digits over a JSON value; None for none."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8] if value else None


def dig(told: Json, *keys: str) -> Any:
    """The value below nested keys; None where a level is missing."""
    for key in keys:
        told = told.get(key) if isinstance(told, Mapping) else None
    return told

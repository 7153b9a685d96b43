"""Nested settings as rows of dotted keys: for table `run_param`, and for the page of one run. Arithmetic only."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def flatten(value: Any, key: str = "") -> Iterator[dict[str, Any]]:
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

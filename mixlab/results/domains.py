"""Bits per byte over domains as one number: their mean, their mean by the mixture's weights, the worst of them.

Reads and writes nothing. The store shows the same as the view `run_bpb` (results/marks.py).
"""

import math
from collections.abc import Mapping
from typing import Any


def domains(bpb: Mapping[str, float | None], weights: Mapping[str, float]) -> dict[str, Any]:
    """`macro`, `mix_weighted`, `worst`, `worst_domain`; all None if a domain has no number.

    `weights`: share of training tokens of each source; domains without one (0 %) do not count in the weighted mean.

    >>> domains({"code": 2.0, "wiki": 1.0}, {"code": 0.25, "wiki": 0.75})
    {'macro': 1.5, 'mix_weighted': 1.25, 'worst': 2.0, 'worst_domain': 'code'}
    """
    known = {d: v for d, v in bpb.items() if v is not None and math.isfinite(v)}
    shares = {d: weights.get(d, 0.0) for d in bpb}
    if not bpb or len(known) < len(bpb):
        return dict.fromkeys(("macro", "mix_weighted", "worst", "worst_domain"))
    total = sum(shares.values())
    worst = max(sorted(known), key=lambda d: known[d])
    weighted = math.fsum(known[d] * shares[d] for d in known) / total if total else None
    return {
        "macro": math.fsum(known.values()) / len(known),
        "mix_weighted": weighted,
        "worst": known[worst],
        "worst_domain": worst,
    }

"""What the page Advice asks and reads: constraints as a value, the card, next runs, power, what is behind it all.

Reads through advise/, keeps each answer until a run's scores or the ledger change; writes a saved mix as
`mixlab recommend --save` does. The fits are imported when they are first asked for, so that a page can say at once what
it is waiting for.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st
from threadpoolctl import threadpool_limits  # pyright: ignore[reportMissingTypeStubs]  # it has none

from mixlab.app import lab, weights
from mixlab.errors import ConfigError
from mixlab.mix.simplex import apportion
from mixlab.results.listing import list_runs
from mixlab.workspace import Workspace

if TYPE_CHECKING:
    from mixlab.advise.runs import Advice, Ask

ONE_THREAD = 1
"""Fits are of small matrices: more BLAS threads than free cores make them ten times slower."""
PLACES = ("natural", "uniform", "recommended")
"""Mixes to stand on where effects are asked for."""
UNITS = 1_000_000  # as advise.runs.save: a weight is a whole number of millionths
INF = float("inf")
DIGITS = 4  # of a share: a hundredth of a point


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a person asks of a recommendation, as the options of `mixlab recommend`; shares from 0 to 1."""

    sweep: str | None = None
    metrics: tuple[str, ...] = ()
    """Sources whose bits per byte count; none: all."""
    max_epochs: float | None = None
    only_licences: tuple[str, ...] = ()
    floors: tuple[tuple[str, float], ...] = ()
    caps: tuple[tuple[str, float], ...] = ()
    groups: tuple[tuple[tuple[str, ...], float, float], ...] = ()
    """Sources, and the least and the most that their shares may sum to."""
    frozen: tuple[tuple[str, float], ...] = ()
    """Sources that keep these proportions to each other; none, or two at least."""
    importance: tuple[tuple[str, float], ...] = ()
    """Source -> what its bits per byte count, where that is not 1."""
    ceilings: tuple[tuple[str, float], ...] = ()
    """Source -> predicted bits per byte that the mix may not pass."""
    standardise: bool = False
    caution: float = 0.0
    pull: float = 0.0
    """Towards natural: loss that a nat of KL costs."""
    target_tokens: int | None = None
    target_params: float | None = None
    device: str = "cpu"

    def ask(self) -> "Ask":
        """The same for `advise.runs.advise`. ConfigError for numbers out of range."""
        from mixlab.advise import runs
        from mixlab.advise.region import Group, Limits
        from mixlab.advise.verdict import Wish

        self.check()
        limits = Limits(
            floors=dict(self.floors),
            caps=dict(self.caps),
            groups=tuple(Group(sources=names, least=least, most=most) for names, least, most in self.groups),
            frozen=(dict(self.frozen),) if self.frozen else (),
        )
        return runs.Ask(
            sweep=self.sweep,
            metrics=self.metrics,
            max_epochs=self.max_epochs,
            only_licences=self.only_licences,
            target_tokens=self.target_tokens,
            target_params=self.target_params,
            device=self.device,
            wish=Wish(
                limits=limits,
                importance={f"bpb_{s}": n for s, n in self.importance},
                ceilings={f"bpb_{s}": v for s, v in self.ceilings},
                standardise=self.standardise,
                kappa=self.caution,
                lam=self.pull,
            ),
        )

    def check(self) -> None:
        """ConfigError unless every number is one that the limits of the widgets allow: the browser is not trusted."""
        sums = [(" + ".join(names), share) for names, *ends in self.groups for share in ends]
        for name, share in (*self.floors, *self.caps, *sums):
            if not 0 <= share <= 1:
                raise ConfigError(f"the share of {name} is {share:g}: floors, caps and sums lie between 0 and 1.")
        if len(self.frozen) == 1:
            raise ConfigError(f"{self.frozen[0][0]} alone cannot keep proportions: choose two sources or none.")
        above = (self.max_epochs, self.target_tokens, self.target_params, *(v for _, v in self.ceilings))
        least = (self.caution, self.pull, *(n for _, n in self.importance))
        if not all(x is None or 0 < x < INF for x in above) or not all(0 <= x < INF for x in least):
            raise ConfigError("caution, pull and what a score counts are 0 or more; all else is more than 0.")

    def words(self) -> list[str]:
        """The same for the shell: words after `mixlab`."""
        told = ["recommend"]
        told += [] if self.sweep is None else ["--sweep", self.sweep]
        told += [w for m in self.metrics for w in ("--metric", m)] + self._within()
        told += [w for pair in _pairs(self.importance) for w in ("--weight", pair)]
        told += [w for pair in _pairs(self.ceilings) for w in ("--ceiling", pair)]
        told += ["--standardise"] if self.standardise else []
        told += ["--caution", f"{self.caution:g}"] if self.caution else []
        told += ["--pull", f"{self.pull:g}"] if self.pull else []
        told += [] if self.target_params is None else ["--target-params", f"{self.target_params:.12g}"]
        return told + ([] if self.device == "cpu" else ["--device", self.device])

    def _within(self) -> list[str]:
        """Options for what a mix must keep to."""
        told = [w for pair in _pairs(self.floors) for w in ("--floor", pair)]
        told += [w for pair in _pairs(self.caps) for w in ("--cap", pair)]
        for names, least, most in self.groups:
            told += ["--group", f"{'+'.join(names)}>={least:g}"] if least > 0 else []
            told += ["--group", f"{'+'.join(names)}<={most:g}"] if most < 1 else []
        told += ["--freeze", ",".join(_pairs(self.frozen))] if self.frozen else []
        told += [] if self.max_epochs is None else ["--max-epochs", f"{self.max_epochs:g}"]
        told += ["--only-licences", ",".join(self.only_licences)] if self.only_licences else []
        return told + ([] if self.target_tokens is None else ["--target-tokens", str(self.target_tokens)])

    def of_runs(self, verb: str) -> list[str]:
        """`mixlab advise <verb>` on the same runs and metrics, as far as it takes them."""
        told = ["advise", verb] + ([] if self.sweep is None else ["--sweep", self.sweep])
        told += ["--max-epochs", f"{self.max_epochs:g}"] if verb == "horizon" and self.max_epochs is not None else []
        told += [w for m in self.metrics for w in ("--metric", m)] if verb != "power" else []
        if verb == "next":
            told += self._within() + ([] if self.device == "cpu" else ["--device", self.device])
        return told


def train_words(name: str, mixture: dict[str, float], like: str, seed: int) -> list[str]:
    """Words of the command that trains a mix exactly as the run `like` was trained, so that the two can be compared.

    >>> " ".join(train_words("new", {"code": 0.25, "wiki": 0.75}, "natural-s0-aaaa0001", 1))
    'runs clone natural-s0-aaaa0001 name=new mixture.name=new mixture.weights={code: 0.25, wiki: 0.75} seed=1'
    """
    names = sorted(mixture)
    parts = apportion([mixture[s] for s in names], UNITS).tolist()
    told = ", ".join(f"{s}: {n / UNITS:g}" for s, n in zip(names, parts, strict=True) if n)
    return [
        "runs",
        "clone",
        like,
        f"name={name}",
        f"mixture.name={name}",
        f"mixture.weights={{{told}}}",
        f"seed={seed}",
    ]


def proportions(sources: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """The natural proportions of these sources, by their prepared tokens: what freezing them keeps."""
    told = lab.sources()
    tokens = {s: int(n) for s, n in zip(told["source"], told["tokens"], strict=True) if s in set(sources)}
    return tuple((s, round(n / sum(tokens.values()), DIGITS)) for s, n in sorted(tokens.items()) if n)


def licences() -> dict[str, list[str]]:
    """Source -> the licences its prepared text stands under."""
    told = lab.sources()
    return {
        s: sorted(json.loads(many or "{}") or {one or "unknown": 1})
        for s, many, one in zip(told["source"], told["licences"], told["licence"].fillna(""), strict=True)
    }


def advice(wanted: Wanted) -> dict[str, Any]:
    """The card of `mixlab recommend` as plain values, with `runs, left_out, notes, natural, recipe` beside it."""
    ws = Workspace.open()
    told = _advised(str(ws.root), advice_stamp(ws), wanted)
    beside = {"runs": told.runs, "left_out": told.left_out, "notes": told.notes, "recipe": told.recipe}
    return dataclasses.asdict(told.verdict) | beside | {"natural_mix": dict(told.natural)}


def behind(wanted: Wanted, at: str) -> dict[str, Any]:
    """What is behind the advice: `effects` at this mix, `unseen` predictions against outcomes, and its `figures`."""
    ws = Workspace.open()
    return _behind(str(ws.root), advice_stamp(ws), wanted, at)


def outcomes() -> pd.DataFrame:
    """Advice that was kept and what came of it, long: mix, predicted, lo, hi, realised, pairs (gains over natural)."""
    ws = Workspace.open()
    return _outcomes(str(ws.root), advice_stamp(ws))


def keep_advice(name: str, wanted: Wanted, *, overwrite: bool = False, project: Path | None = None) -> Path:
    """Saves the recommended mix as `sweeps/mixture/<name>.yaml` and writes it into the ledger, as `--save` does.

    ConfigError for a bad name, or a file that is there without `overwrite`.
    """
    from mixlab.advise import ledger, runs

    path = weights.path_of(name, project)
    weights.check_free(path, overwrite=overwrite)
    ws = Workspace.open()
    told = _advised(str(ws.root), advice_stamp(ws), wanted)
    runs.save(path, told.verdict.mixture.weights, told.verdict.sentences[0])
    ledger.propose(ws.ledger, told.verdict, told.natural, told.recipe)
    return path


def chances(card: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The card's gain and its probabilities for figures: title -> value, and what it is."""
    told = {"Gain over natural": (f"{card['gain']['mean']:+.4f}", "Bits per byte, mean of the scores; above 0: lower.")}
    rivals = {"natural": "natural", "uniform": "uniform", "unimax": "UniMax", "best_run": "best"}
    for name, said in rivals.items():
        if (chance := card[f"p_beats_{name}"]) is not None:
            whom = "the mix of the best run" if name == "best_run" else said
            says = f"Probability that the mix scores lower than {whom}, by the fit and its errors on unseen mixes."
            told[f"P(beats {said})"] = f"{chance:.2f}", says
    return told


def shares(card: dict[str, Any]) -> pd.DataFrame:
    """The recommended mix, the largest share first: source, weight, equal (range), epochs, room (price of its cap)."""
    epochs: Mapping[str, float] = card["epochs"] or {}
    prices: Mapping[str, float] = card["shadow_prices"]
    rows = [
        {"source": s, "weight": w, "equal": "{:.0%} to {:.0%}".format(*card["indifference"][s])}
        | {"epochs": epochs.get(s), "room": prices.get(s)}
        for s, w in sorted(card["mixture"]["weights"].items(), key=lambda kv: (-kv[1], kv[0]))
    ]
    return pd.DataFrame(rows)


def _pairs(told: Sequence[tuple[str, float]]) -> list[str]:
    return [f"{name}={share:g}" for name, share in told]


def advice_stamp(ws: Workspace) -> lab.Stamp:
    """Changes when a score, a plan or the ledger does: what every answer here hangs on."""
    return lab.stamp_of("plan.json", "scores.jsonl", "done.json", more=[ws.ledger])


@st.cache_data(max_entries=32, show_spinner=False)
def _advised(root: str, stamp: lab.Stamp, wanted: Wanted) -> "Advice":
    from mixlab.advise import runs

    ws = Workspace(Path(root))
    with threadpool_limits(ONE_THREAD):
        return runs.advise(list_runs(ws), ws, wanted.ask())


@st.cache_data(max_entries=16, show_spinner=False)
def _behind(root: str, stamp: lab.Stamp, wanted: Wanted, at: str) -> dict[str, Any]:
    from mixlab.advise import explain, runs

    ws = Workspace(Path(root))
    rows, ask = list_runs(ws), wanted.ask()
    with threadpool_limits(ONE_THREAD):
        objective, _, _ = runs.fitted(rows, ws, ask)
        used = runs.comparable(rows, ask.sweep)[0]
        table = runs.table(used).dropna()
        if at not in PLACES:
            raise ConfigError(f"effects are told at {', '.join(PLACES)}; not at '{at}'.")
        if at == "recommended":
            mix = dict(advice(wanted)["mixture"]["weights"])
        elif at == "natural":
            mix = runs.natural_of(used, ws)
        else:
            mix = dict.fromkeys(objective.sources, 1.0)
        names = list(table["run_id"]) if len(table) == len(objective.observed) else [""] * len(objective.observed)
        unseen, figures = explain.left_out(objective, names)
        return {"effects": explain.effects_at(objective, mix), "unseen": unseen, "figures": figures, "mix": mix}


@st.cache_data(max_entries=4, show_spinner=False)
def _outcomes(root: str, stamp: lab.Stamp) -> pd.DataFrame:
    from mixlab.advise import ledger

    ws = Workspace(Path(root))
    rows = [
        {"name": ", ".join(f"{s} {w:.0%}" for s, w in sorted(r["mixture"].items(), key=lambda kv: -kv[1]))}
        | {
            "predicted": r["predicted"],
            "lo": r["lo95"],
            "hi": r["hi95"],
            "realised": r["realised"],
            "pairs": r["pairs"],
        }
        for r in ledger.settled(ws.ledger, list_runs(ws))
    ]
    return pd.DataFrame(rows, columns=["name", "predicted", "lo", "hi", "realised", "pairs"])

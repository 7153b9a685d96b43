"""Overrides as people type them → plain mappings. The one place, with `__main__`, that knows hydra.

hydra finds the packaged groups in `mixlab/conf`, the project's sweeps as `+sweeps=<name>` in `./sweeps/<name>.yaml`,
and the project's own groups below `./sweeps/` (a saved mix is `./sweeps/mixture/<name>.yaml`).
"""

import copy
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mixlab.config import CONF, run_spec
from mixlab.errors import ConfigError, MissingError, nearest
from mixlab.mix import swarm
from mixlab.mix.mixture import of_run
from mixlab.types import (
    Cleaning,
    Decontamination,
    Dedup,
    EvalSpec,
    Holdout,
    Mixture,
    ModelSpec,
    RunSpec,
    Spans,
    TokenizerSpec,
    TrainSpec,
)
from mixlab.workspace import Workspace

SPECS = {
    "cleaning": Cleaning(),
    "dedup": Dedup(),
    "decontamination": Decontamination(),
    "spans": Spans(),
    "holdout": Holdout(),
    "tokenizer": TokenizerSpec(),
    "mixture": Mixture(),
    "model": ModelSpec(),
    "train": TrainSpec(),
    "evals": EvalSpec(),
}
"""Every default comes from the dataclass; the YAML groups name variants only."""


def register() -> None:
    """Makes the dataclass defaults known to hydra as the config `base`, and the resolvers `${mixlab.row:file,row}`.

    So are `mixlab.name` and `mixlab.seed` of a design row, and `${mixlab.run:ID}`, the weights of a run of the lab.
    """
    base: dict[str, Any] = {name: _plain(dataclasses.asdict(spec)) for name, spec in SPECS.items()}
    base |= {"name": None, "seed": 0, "sources": {}, "phases": [], "sweep": None, "design": {"file": None, "row": None}}
    ConfigStore.instance().store(name="base", node=base)
    for name, resolve in (("row", design_row), ("name", design_name), ("seed", design_seed), ("run", run_weights)):
        OmegaConf.register_new_resolver(f"mixlab.{name}", resolve, replace=True)


def spec_of(overrides: Sequence[str], project: Path) -> RunSpec:
    """The run that these overrides describe."""
    return spec_from(_compose(overrides, project), overrides)


def spec_from(cfg: DictConfig, overrides: Sequence[str]) -> RunSpec:
    """A composed config as a RunSpec; without a name of its own, a run is called after its mixture.

    `overrides` are those it was composed with: ConfigError if a mapping typed among them left default sources in.
    """
    try:
        tree = _container(cfg, resolve=True)
    except OmegaConfBaseException as e:
        raise ConfigError(sentence(e, Path.cwd())) from e
    mix: dict[str, Any] = tree.get("mixture") or {}
    _refuse_leftovers(overrides, mix)
    if isinstance(mix.get("to"), str):
        raise ConfigError(
            f"mixture.to: '{mix['to']}' is the name of a mix, and here stands a whole one. Type "
            f"+mixture@mixture.to={mix['to']}, or write it out: mixture.to={{rule: uniform}}."
        )
    spec = run_spec(tree)
    return spec if tree.get("name") else dataclasses.replace(spec, name=spec.mixture.name)


def expand(name: str | None, overrides: Sequence[str], project: Path) -> list[RunSpec]:
    """The runs of a sweep: `sweeps/<name>.yaml` and what was typed, which wins, spread over every a,b and range()."""
    return spread(axes(name, overrides, project), project)


def axes(name: str | None, overrides: Sequence[str], project: Path) -> list[str]:
    """What a sweep asks for, its file's own parameters and what was typed, which wins; every a,b and range() whole."""
    chosen = [*([f"+sweeps={name}"] if name else []), *overrides]
    if name and not (project / "sweeps" / f"{name}.yaml").is_file():
        known = [p.stem for p in (project / "sweeps").glob("*.yaml")]
        raise ConfigError(f"there is no sweeps/{name}.yaml in {project}.{nearest(name, known)}")
    swept = _swept(chosen, project)
    typed = {o.split("=", 1)[0] for o in overrides}
    return [*([f"+sweeps={name}"] if name else []), *(s for s in swept if s.split("=", 1)[0] not in typed), *overrides]


def spread(lists: Sequence[str], project: Path) -> list[RunSpec]:
    """A run for each combination of the values in `lists`."""
    try:
        batches = BasicSweeper.split_arguments(
            OverridesParser.create().parse_overrides(list(lists)), max_batch_size=None
        )
    except HydraException as e:
        raise ConfigError(sentence(e, project)) from e
    return _specs([one for batch in batches for one in batch], project)


def _specs(runs: Sequence[Sequence[str]], project: Path) -> list[RunSpec]:
    """The runs of these overrides, which differ in some places of the list.

    Composed once for all that differ in values alone (`train.lr=…`): hydra takes half a second for each.
    """
    differ = [i for i, same in enumerate(zip(*runs, strict=True)) if len(set(same)) > 1]
    values = {i for i in differ if re.match(r"\w+(\.\w+)+=", runs[0][i])}
    composed: dict[tuple[str, ...], DictConfig] = {}
    specs = list[RunSpec]()
    for run in runs:
        rest = tuple(o for i, o in enumerate(run) if i not in values)
        try:
            cfg = copy.deepcopy(composed.get(rest) or composed.setdefault(rest, _compose(rest, project)))
            for one in OverridesParser.create().parse_overrides([run[i] for i in sorted(values)]):
                OmegaConf.update(cfg, one.key_or_group, one.value(), merge=True)
        except (ConfigError, OmegaConfBaseException):
            cfg = _compose(run, project)  # says what is wrong, if anything is without the others
        specs.append(spec_from(cfg, run))
    return specs


def search_path(project: Path) -> list[str]:
    """The override that lets hydra see the project's `sweeps/` folder; none if there is no such folder.

    ConfigError if a file of the project is called like one of mixlab's: hydra would take ours without a word.
    """
    if not (project / "sweeps").is_dir():
        return []
    for ours in sorted(CONF.glob("*/*.yaml")):
        for mine in (folder / ours.parent.name / ours.name for folder in (project, project / "sweeps")):
            if mine.is_file():
                raise ConfigError(
                    f"{mine}: mixlab brings a {ours.parent.name} called '{ours.stem}', which would be taken instead of "
                    f"yours. Give the file another name."
                )
    return [f"hydra.searchpath=['file://{project}','file://{project}/sweeps']"]


def named(name: str, overrides: Sequence[str], project: Path, ws: Workspace) -> RunSpec:
    """The run that `overrides` describe, with the mixture called `name`.

    `<file>.csv:<name or row>` is a row of a design; another name is a config (natural, or a saved
    sweeps/mixture/NAME.yaml), else a run of the lab, of which a unique part of the id is enough.
    """
    file, _, row = name.rpartition(":")
    if file.endswith(".csv"):
        rows = swarm.read_design(Path(file))
        found = [m for i, m in enumerate(rows) if row in (m.name, str(i))]
        if not found:
            raise ConfigError(f"{file} has no row '{row}'.{nearest(row, [m.name for m in rows])}")
        return _with_weights(found[0], overrides, project)
    configs = {f.stem for folder in (CONF, project / "sweeps", project) for f in (folder / "mixture").glob("*.yaml")}
    if name in configs or not ws.runs():
        return spec_of([*overrides, f"mixture={name}"], project)
    try:
        mix = of_run(ws, name)
    except MissingError as e:
        raise ConfigError(f"mixture '{name}' is neither a config nor a run.{nearest(name, configs)} {e}") from e
    return _with_weights(mix, overrides, project)


def _with_weights(mix: Mixture, overrides: Sequence[str], project: Path) -> RunSpec:
    """The run of these weights, which `overrides` may still scale, limit or change one by one."""
    spec = spec_of(["mixture=weights", *overrides], project)
    changed = dataclasses.replace(spec.mixture, name=mix.name, weights={**mix.weights, **spec.mixture.weights})
    return dataclasses.replace(spec, mixture=changed, name=mix.name)


def design_row(file: str, row: int) -> dict[str, float]:
    """Weights in one row (from 0) of a design CSV."""
    return dict(_design(file, row).weights)


def design_name(file: str, row: int) -> str:
    """Name of one row (from 0) of a design CSV."""
    return _design(file, row).name


def design_seed(file: str, row: int) -> int:
    """Seed of one row (from 0) of a design CSV; 0 if it has no such column."""
    _design(file, row)
    seeds = swarm.read_seeds(Path(file))
    return seeds[int(row)] if seeds else 0


def run_weights(run_id: str) -> dict[str, float]:
    """The weights that a run of the lab was trained with."""
    return dict(of_run(Workspace.open(), run_id).weights)


def _design(file: str, row: int) -> Mixture:
    mixtures = swarm.read_design(Path(file))
    if not 0 <= int(row) < len(mixtures):
        raise ConfigError(f"design.row: {row} is not in {file}, which has rows 0 to {len(mixtures) - 1}.")
    return mixtures[int(row)]


def _refuse_leftovers(overrides: Sequence[str], mixture: Mapping[str, Any]) -> None:
    """ConfigError if weights typed for the mixture or a group were merged into a default with other sources, too."""
    inside: dict[str, Any] = {"mixture.weights": mixture.get("weights")}
    inside |= {f"mixture.groups.{g}": w for g, w in (mixture.get("groups") or dict[str, Any]()).items()}
    typed: dict[str, set[str]] = {}
    for one in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = one.key_or_group, one.value()
        section, _, source = key.rpartition(".")
        if key == "mixture.groups" and isinstance(value, dict):
            for group, told in cast("dict[str, dict[str, Any] | None]", value).items():
                typed.setdefault(f"{key}.{group}", set()).update(told if isinstance(told, dict) else ())
        elif key in inside and isinstance(value, dict):
            typed.setdefault(key, set()).update(map(str, value))
        elif section in typed:
            typed[section].add(source)
    for path, names in typed.items():
        weights: dict[str, float] = inside.get(path) or {}
        if left := sorted(s for s, w in weights.items() if s not in names and w):
            empty = "Start from an empty one (mixture=weights), name" if path == "mixture.weights" else "Name"
            raise ConfigError(
                f"{path} was typed for {', '.join(sorted(names)) or 'no source'}, but the default it is merged into "
                f"leaves in {', '.join(f'{s} ({weights[s]:g})' for s in left)}. {empty} every source, or delete them: "
                f"{' '.join(f'~{path}.{s}' for s in left)}."
            )


def _compose(overrides: Sequence[str], project: Path, *, with_hydra: bool = False) -> DictConfig:
    register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("mixlab.conf", version_base="1.3"):
            return compose("config", [*search_path(project), *overrides], return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException) as e:
        raise ConfigError(sentence(e, project)) from e
    except YAMLError as e:
        raise ConfigError(f"not valid YAML: {' '.join(str(e).split())}") from e


def _swept(overrides: Sequence[str], project: Path) -> list[str]:
    """`key=values` pairs that the sweep file itself asks for in hydra.sweeper.params."""
    if not (simple := [o for o in overrides if o.startswith("+sweeps=")]):
        return []
    cfg = _compose(simple, project, with_hydra=True)
    params = _container(cfg.hydra.sweeper.get("params") or OmegaConf.create({}))
    return [f"{k}={v}" for k, v in params.items()]


def _container(cfg: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=resolve))


def _plain(value: Any) -> Any:
    """Lists for tuples, and null for an empty mapping: hydra lets a null become any mapping, an empty one none."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in cast("dict[Any, Any]", value).items()} or None
    return [_plain(v) for v in cast("list[Any]", value)] if isinstance(value, list | tuple) else value


def sentence(e: Exception, project: Path) -> str:
    """hydra's message in our words: the setting or group option that is wrong, the nearest name, what there is."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(e)).split("Config search path:")[0]
    if found := re.search(r"Could not override '([\w.]+)'", text):
        section, _, leaf = found[1].rpartition(".")
        known = [f.name for f in dataclasses.fields(SPECS[section])] if section in SPECS else []
        if leaf in known:
            why = " ".join(str(e.__cause__ or e).split("\n")[0].split())
            return f"{found[1]}: the default it is merged into has no such entry ({why}). To add it: +{found[1]}.NAME=…"
        tops, top = (
            [*(f.name for f in dataclasses.fields(RunSpec)), "source", "design", "sweep", "hydra"],
            found[1].partition(".")[0],
        )
        if not known and top not in tops:
            leaf, known = top, tops
        hint = nearest(leaf, known) if known else f" To add it all the same: +{found[1]}=…"
        return f"{found[1]}: there is no such setting.{hint}"
    if found := re.search(r"Could not (?:find|load) '([\w/-]+)/([\w.-]+)'", text):
        folders = (CONF / found[1], project / "sweeps" / found[1], project / found[1])
        known = [f.stem for folder in folders for f in folder.glob("*.yaml")]
        return (
            f"{found[1]}={found[2]}: there is no such file in mixlab's {found[1]}/ or here.{nearest(found[2], known)}"
        )
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "HYDRA_FULL_ERROR" not in line)

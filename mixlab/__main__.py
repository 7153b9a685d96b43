"""Plain hydra: `python -m mixlab [-m] [+sweeps=NAME] key=value ...` trains one run, with -m one per combination."""

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mixlab import pipeline, roster
from mixlab.compose import register, search_path, sentence, spec_from
from mixlab.errors import ConfigError, MixlabError
from mixlab.workspace import Workspace, read_lines

logger = logging.getLogger("mixlab")


@hydra.main(config_path="pkg://mixlab.conf", config_name="config", version_base="1.3")
def job(cfg: DictConfig) -> float:
    """Trains the run that hydra composed; the value a sweeper sees is its macro bits per byte."""
    is_one_of_many = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        spec, ws = spec_from(cfg, HydraConfig.get().overrides.task), Workspace.open()
        sweep: str | None = cfg.sweep
        if is_one_of_many:
            sweep = sweep or roster.ADHOC
            roster.enlist(ws, sweep, [], {"kind": "grid" if cfg.design.row is None else "design"})
        out = pipeline.run(spec, ws, sweep=sweep)
    except MixlabError as e:
        if is_one_of_many:
            raise  # hydra lets the other jobs run and tells this one at the end
        sys.stderr.write(f"error: {e}\n")
        sys.exit(e.exit_code)
    (final,) = [r for r in read_lines(out / "scores.jsonl")[-64:] if r["final"] and r["task"] == "bpb/macro"][-1:]
    logger.info("%s: macro %.4f bits per byte", out.name, final["value"])
    return final["value"]


def main() -> None:
    """Entry of `python -m mixlab`."""
    register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra then raises what it would print, and we say it in our words
    try:
        sys.argv += search_path(Path.cwd())
        job()
    except (HydraException, OmegaConfBaseException) as e:
        sys.stderr.write(f"error: {sentence(e, Path.cwd())}\n")
        sys.exit(ConfigError.exit_code)
    except MixlabError as e:
        sys.stderr.write(f"error: {e}\n")
        sys.exit(e.exit_code)


if __name__ == "__main__":
    main()

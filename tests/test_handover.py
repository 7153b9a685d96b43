"""A run goes out to a Hugging Face folder, and another run starts where it stopped."""

import json
import warnings

import numpy as np
import pytest

from mixlab import handover, lengths, pipeline
from mixlab.compose import spec_of
from mixlab.data import tokenizer
from mixlab.errors import ConfigError, MissingError
from mixlab.lineage import lineage
from mixlab.workspace import Workspace, read_json, read_lines
from tests.conftest import TINY, mixlab

BPE = ["tokenizer=bpe2048", "tokenizer.vocab_size=300"]


@pytest.fixture
def ws(project):
    return Workspace.open(project / "lab")


def macro(out):
    return [r["value"] for r in read_lines(out / "scores.jsonl") if r["task"] == "bpb/macro"]


def test_a_run_that_starts_from_an_export_starts_where_it_stopped(project, ws):
    first = pipeline.run(spec_of([*TINY, *BPE], project), ws)
    told = handover.export_run(first, ws, project / "hf")
    assert told.difference < 1e-5
    assert read_json(project / "hf" / "mixlab.json")["run_id"] == first.name
    start = [*TINY, "tokenizer.kind=file", "tokenizer.path=hf/tokenizer.json", "model.init_from=hf"]
    live = ["evals.live_tokens=800"]  # so that the first and the final score are the same exam
    second = pipeline.run(spec_of([*start, *live, "model.d_model=64"], project), ws)  # the folder's shape wins
    assert macro(second)[0] == pytest.approx(macro(first)[-1], abs=1e-5)
    assert macro(second)[-1] < macro(first)[-1]
    assert read_json(second / "run.json")["spec"]["model"]["d_model"] == 32
    assert read_json(second / "run.json")["parent_run_id"] == first.name
    assert {"what": "weights from", "which": first.name, "state": ""} in lineage(second, ws)["steps"]
    with pytest.raises(ConfigError, match=r"knows 300 tokens, but the tokenizer of this run gives 400"):
        pipeline.run(spec_of([*TINY, *BPE, "tokenizer.vocab_size=400", "model.init_from=hf"], project), ws)
    with pytest.raises(ConfigError, match=r"another tokenizer than this run's.*tokenizer\.path="):
        pipeline.run(spec_of([*TINY, "model.init_from=hf"], project), ws)


def test_the_key_is_of_the_weights_and_not_of_their_path(project, ws):
    first = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    for name in ("one", "other"):
        handover.export_run(first, ws, project / name)
    specs = [spec_of([*TINY, f"model.init_from={name}"], project) for name in ("one", "other")]
    corpora = pipeline.prepare(specs[0], ws)
    keys = [pipeline.rehearse(spec, corpora, ws).key for spec in specs]
    assert keys[0] == keys[1] != pipeline.rehearse(spec_of(list(TINY), project), corpora, ws).key


@pytest.mark.parametrize("kind", [[], BPE])
def test_the_exported_tokenizer_gives_the_same_ids_in_transformers(project, ws, kind):
    spec = spec_of([*TINY, *kind], project)
    pipeline.prepare(spec, ws)
    words = handover.tokenizer.portable(pipeline.places(spec, ws).tokenizer, 32)
    (project / "hf").mkdir()
    for name, content in words.items():
        (project / "hf" / name).write_bytes(content)
    ours, text = tokenizer.load(pipeline.places(spec, ws).tokenizer), "Ünï cødé\n\t0 <x> \x00 and words"
    theirs = tokenizer.tokenizers.Tokenizer.from_file(str(project / "hf" / "tokenizer.json"))
    assert theirs.encode(text).ids == ours.encode([text])[0].tolist()
    assert theirs.decode(theirs.encode(text).ids) == text
    assert theirs.token_to_id("<|endoftext|>") == ours.end_of_text_id
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        loaded = transformers.AutoTokenizer.from_pretrained(project / "hf")
    assert np.array_equal(loaded(text)["input_ids"], ours.encode([text])[0])
    assert (loaded.eos_token_id, loaded.model_max_length) == (ours.end_of_text_id, 32)


def test_the_command_exports_and_refuses(project, ws):
    out = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    done = mixlab("runs", "export", "uniform", "--to", "hf", "hf", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["largest_logit_difference"] < 1e-5
    assert (project / "hf" / "tokenizer_config.json").exists()
    again = mixlab("runs", "export", "uniform", "--to", "hf", "hf", cwd=project)
    assert again.returncode == 2 and "not empty" in again.stderr
    assert "Known: csv, hf, parquet" in mixlab("runs", "export", "uniform", "--to", "onnx", "x", cwd=project).stderr
    found = lengths.by_length(out, ws)
    assert [(x.factor, x.seq_len) for x in found] == [(1, 32), (2, 64), (4, 128), (8, 256)]
    assert found[-1].long_docs > 0 and len({x.bpb["macro"] for x in found}) == 4
    assert found[-1].bpb["macro"] < 1.1 * found[0].bpb["macro"]  # ALiBi's claim, with room for 16 steps of training
    (out / "done.json").unlink()
    with pytest.raises(MissingError, match="has not finished"):
        handover.export_run(out, ws, project / "b")


def test_the_final_evaluation_also_reads_further_than_the_model_was_trained(project, ws):
    out = pipeline.run(spec_of([*TINY, "mixture=uniform"], project), ws)
    rows = read_lines(out / "scores.jsonl")
    longer = [r for r in rows if r["task"].startswith("length/")]
    assert {(r["task"], r["metric"]) for r in longer} == {
        (f"length/{name}", f"bpb_{factor}x") for name in ("lists", "prose", "macro") for factor in (1, 2, 4, 8)
    }
    assert all(r["final"] and r["value"] and r["evals_key"] == rows[-1]["evals_key"] for r in longer)
    of = {(r["task"], r["metric"]): r for r in longer}
    for name in ("lists", "prose"):
        one, eight = (of[f"length/{name}", f"bpb_{factor}x"] for factor in (1, 8))
        assert one["detail"]["rise"] == 0 and one["n"] == eight["n"]
        assert eight["detail"]["rise"] == pytest.approx(eight["value"] - one["value"])
        assert one["detail"]["tokens"] <= lengths.WINDOWS * 32  # few: this is no second exam
    assert rows[-1]["task"] == "bpb/macro"

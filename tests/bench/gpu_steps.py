"""Whole training steps on a GPU: forward, backward, clipping and AdamW of an MPT, each way to run them.

`of peak` is MFU: 6 x parameters in matrices and head, plus the causal half of attention, against 989 TFLOP/s.
Random tokens; bf16 autocast over float32 weights.
"""

# B batch, T sequence, M tokens, D d_model, V vocab

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor, nn

import mixlab
from mixlab.mix.budget import flops
from mixlab.model.attention import BACKENDS, View, alibi_slopes
from mixlab.model.mpt import MPT
from mixlab.types import ModelSpec
from tests.bench.gpu_entropy import ENTROPY
from tests.bench.gpu_kernels import ATTENTION, PEAK, device, fresh, need_gpu

CONF = Path(mixlab.__file__).parent / "conf" / "model"
V8K, V50K = 8192, 50_368


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a step is run."""

    attn: str = "flex"
    entropy: str = "fused"
    compile: str = "blocks"  # none, blocks, or model
    graph: bool = False
    bf16_residual: bool = False

    def __str__(self) -> str:
        parts = [
            self.attn,
            self.entropy,
            {"none": "eager", "blocks": "compiled blocks", "model": "compiled model"}[self.compile],
        ]
        if self.graph:
            parts.append("graph")
        if self.bf16_residual:
            parts.append("bf16 residual")
        return ", ".join(parts)


BASE = Way()
GRAPH = replace(BASE, graph=True)
STEPS: list[tuple[str, int, int, int, Way]] = [
    # preset, vocabulary, sequence, rows a pass, way
    ("mpt-125m", V50K, 2048, 32, replace(BASE, compile="none", entropy="mixlab")),
    ("mpt-125m", V50K, 2048, 32, replace(BASE, entropy="mixlab")),
    ("mpt-125m", V50K, 2048, 32, BASE),
    ("mpt-125m", V50K, 2048, 16, BASE),
    ("mpt-125m", V50K, 2048, 32, GRAPH),
    ("mpt-125m", V50K, 2048, 32, replace(BASE, attn="cudnn, 8 spare dims")),
    ("mpt-125m", V50K, 2048, 32, replace(BASE, attn="flash, 8 spare dims")),
    ("mpt-125m", V50K, 2048, 32, replace(BASE, bf16_residual=True)),
    ("mpt-125m", V50K, 2048, 32, replace(BASE, compile="model")),
    ("mpt-1m", V8K, 1024, 64, replace(BASE, compile="none", entropy="mixlab")),
    ("mpt-1m", V8K, 1024, 64, replace(BASE, compile="none")),
    ("mpt-1m", V8K, 1024, 64, BASE),
    ("mpt-1m", V8K, 1024, 64, GRAPH),
    ("mpt-1m", V8K, 1024, 64, replace(GRAPH, compile="model")),
    ("mpt-1m", V8K, 1024, 256, GRAPH),
    ("mpt-1m", V8K, 1024, 256, replace(GRAPH, compile="model")),
    ("mpt-1m", V8K, 1024, 19, BASE),
    ("mpt-1m", V8K, 1024, 19, GRAPH),
    ("mpt-1m", V8K, 1024, 19, replace(GRAPH, compile="model")),
    ("mpt-1m", V50K, 1024, 64, GRAPH),
    ("mpt-15m", V50K, 2048, 32, GRAPH),
    ("mpt-60m", V50K, 2048, 32, BASE),
    ("mpt-350m", V50K, 2048, 16, BASE),
]


def rows() -> list[dict[str, str]]:
    need_gpu()
    return list(steps())


def steps(table: list[tuple[str, int, int, int, Way]] | None = None) -> Iterator[dict[str, str]]:
    for preset, vocab, length, n_rows, way in table or STEPS:
        spec = ModelSpec(**yaml.safe_load((CONF / f"{preset}.yaml").read_text()))
        spec = replace(spec, vocab_size=vocab, max_seq_len=length, attn_impl=way.attn)
        yield measured(preset, spec, n_rows, way)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measured(name: str, spec: ModelSpec, n_rows: int, way: Way) -> dict[str, str]:
    fresh()
    began = time.perf_counter()
    row = {"what": f"{name} V{spec.vocab_size}, {n_rows}x{spec.max_seq_len}", "variant": str(way)}
    try:
        step = Step(spec, n_rows, way)
        seconds = step.seconds()
    except (RuntimeError, NotImplementedError, torch._dynamo.exc.TorchDynamoException) as e:
        return row | {"ms": "-", "tokens/s": "", "of peak": "", "note": f"{type(e).__name__}: {str(e).strip()[:90]}"}
    tokens = n_rows * spec.max_seq_len
    rate, whole = tokens / seconds, time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return row | {
        "ms": f"{1e3 * seconds:.2f}",
        "tokens/s": f"{rate / 1e6:.3f} M",
        "of peak": f"{rate * flops(spec, 1).total / PEAK:.1%}",
        "note": f"ready after {whole:.0f} s, {memory:.0f} GiB, loss {step.losses()}",
    }


class Step:
    """A model, its optimizer and one batch; `run` is one optimizer step."""

    def __init__(self, spec: ModelSpec, n_rows: int, way: Way):
        torch.manual_seed(0)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self.way = way
        if way.attn in ATTENTION and way.attn not in ("torch", "sdpa"):
            attend = ATTENTION[way.attn](whole_view(spec))
            BACKENDS[way.attn] = lambda _view: attend
        self.model = MPT(spec, seed=0).to(device()).train()
        self.entropy = ENTROPY[way.entropy]
        self.ids_BT = torch.randint(spec.vocab_size, (n_rows, spec.max_seq_len), device=device())
        self.lr = torch.tensor(1e-3, device=device())
        on_gpu = torch.cuda.is_available()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.lr, fused=True, capturable=on_gpu)
        if way.bf16_residual:
            self.model.transformer.wte.register_forward_hook(lambda _m, _i, out: out.bfloat16())
        if way.compile == "blocks":
            for block in self.model.transformer.blocks:
                block.compile(dynamic=False)
        self.loss = torch.compile(self._loss, dynamic=False) if way.compile == "model" else self._loss
        self.run = self._captured() if way.graph else self._step
        self.seen: list[Tensor] = []

    def _loss(self, ids_BT: Tensor) -> Tensor:
        with torch.autocast(ids_BT.device.type, torch.bfloat16):
            x_MD = self.model.hidden(ids_BT).flatten(0, 1)
            if self.way.entropy.startswith("fused"):
                targets_BT = torch.nn.functional.pad(ids_BT[:, 1:], (0, 1), value=-1)
                return self.entropy(x_MD, self.model.transformer.wte.weight, targets_BT.flatten())
            x_MD = x_MD.view(*ids_BT.shape, -1)[:, :-1].flatten(0, 1)
            return self.entropy(x_MD, self.model.transformer.wte.weight, ids_BT[:, 1:].flatten())

    def _step(self) -> Tensor:
        loss = self.loss(self.ids_BT)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _captured(self) -> Callable[[], Tensor]:
        """The whole step as one CUDA graph; it is run three times first, as capture demands."""
        if not torch.cuda.is_available():
            return self._step
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._step()

        def replay() -> Tensor:
            graph.replay()
            return loss.clone()

        return replay

    def seconds(self, at_least: float = 0.8) -> float:
        """Of one step: the best of three rounds, each after a wait for the device."""
        self.seen = [self.run() for _ in range(3)]
        one = self._round(3)
        n = max(3, int(at_least / one / 3))
        return min(self._round(n) for _ in range(3))

    def _round(self, n: int) -> float:
        wait()
        began = time.perf_counter()
        for _ in range(n):
            last = self.run()
        wait()
        self.seen.append(last)
        return (time.perf_counter() - began) / n

    def losses(self) -> str:
        return f"{float(self.seen[0]):.3f} to {float(self.seen[-1]):.3f}"


def whole_view(spec: ModelSpec) -> View:
    """What a training step of `spec` lets a query see."""
    return View(
        slopes=alibi_slopes(spec.n_heads, spec.alibi_bias_max),
        scale=(spec.d_model // spec.n_heads) ** -0.5,
        n_queries=spec.max_seq_len,
        n_keys=spec.max_seq_len,
        device=torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu"),
    )


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()

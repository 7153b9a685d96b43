"""The first line against a bad step: its update is dropped where the loss or the gradient stands 6 sigma out.

While the loss falls, 128 steps spread too wide to say so: the last 16 also have a say, and before them the largest yet.

The verdict is made and used on the device, so the host waits for nothing before the optimizer runs. Pattern: OLMo-core
SkipStepAdamW. Reads and writes nothing.
"""

# W window

from typing import Any

import torch
from torch import Tensor

WINDOW = 128  # steps (OLMo-core)
SIGMAS = 6.0
MIN_STEPS = 32  # before that a spread says nothing
LATEST, LATEST_SIGMAS = 16, 10.0  # while the loss falls steeply the last steps alone tell what is usual
# loss, gradient norm: times their mean; below, a step is usual, however alike the last ones were
LEAST_RISE = (1.0, 3.0)
EARLY = (1.5, 10.0)  # loss, gradient norm: times the largest yet, while fewer than LATEST steps are known


class Guard:
    """Remembers loss and gradient norm of the last good steps; judges the next by them."""

    def __init__(self, device: torch.device):
        self.recent_2W = torch.zeros(2, WINDOW, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self._places_W = torch.arange(WINDOW, 0, -1, device=device)
        self._early_2 = torch.tensor(EARLY, dtype=torch.float64, device=device)
        self._rise_2 = torch.tensor(LEAST_RISE, dtype=torch.float64, device=device)

    @torch.no_grad()
    def judge(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """1.0 if this step's update must be dropped, else 0.0 (float32, no dimension); a good step is remembered."""
        now_2 = torch.stack((loss.detach(), grad_norm.detach())).double()
        is_far = (now_2 > self._limit(WINDOW, SIGMAS)).any() & (self.count >= MIN_STEPS)
        is_far |= (now_2 > self._limit(LATEST, LATEST_SIGMAS)).any() & (self.count >= LATEST)
        is_early = (self.count >= 2) & (self.count < LATEST)
        is_far |= (now_2 > self.recent_2W.amax(1) * self._early_2).any() & is_early
        is_bad = is_far | ~now_2.isfinite().all()
        shifted_2W = torch.cat((self.recent_2W[:, 1:], now_2[:, None]), 1)
        self.recent_2W.copy_(torch.where(is_bad, self.recent_2W, shifted_2W))  # in place: a captured step reads it here
        self.count.copy_((self.count + ~is_bad).clamp(max=WINDOW))
        return is_bad.float()

    def _limit(self, window: int, sigmas: float) -> Tensor:
        """Mean and so many standard deviations of the last `window` good steps, or LEAST_RISE: loss, gradient norm."""
        recent_2W, is_known_W = self.recent_2W[:, -window:], self._places_W[-window:] <= self.count
        known = self.count.clamp(min=1, max=window)
        mean_2 = recent_2W.sum(1) / known  # what is not known yet is zero
        square_2 = ((recent_2W - mean_2[:, None]).square() * is_known_W).sum(1)
        return torch.maximum(mean_2 + sigmas * (square_2 / known).sqrt(), mean_2 * self._rise_2)

    def level(self) -> float:
        """Mean loss of the latest good steps, nats per token; 0 for none."""
        known = self.count.clamp(min=1, max=LATEST)
        return float(self.recent_2W[0, -LATEST:].sum() / known)  # what is not known yet is zero

    def forget(self) -> None:
        """Starts afresh: what was normal is no longer."""
        self.recent_2W.zero_()
        self.count.zero_()

    def state(self) -> dict[str, Any]:
        """What a resumed guard needs, as JSON: exact, since JSON's numbers are doubles."""
        n = int(self.count)
        return {"recent": self.recent_2W[:, WINDOW - n :].numpy(force=True).tolist()}

    def resume(self, state: dict[str, Any]) -> None:
        """Goes on from `state()`."""
        self.forget()
        recent = torch.tensor(state["recent"], dtype=torch.float64, device=self.recent_2W.device)
        n = recent.shape[1]
        if n:
            self.recent_2W[:, WINDOW - n :] = recent
        self.count += n

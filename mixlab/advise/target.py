"""The run that the advice is for: how many tokens, from how many, at which price. Arithmetic only."""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.errors import ConfigError, PlanError, nearest
from mixlab.mix.budget import DEVICES, Device, share_at
from mixlab.mix.mixture import unimax


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A training run at full scale."""

    tokens: int
    available: Mapping[str, int]
    """Source -> tokens there are."""
    max_epochs: float
    flops: float
    """Of the whole run."""
    device: str = "cpu"

    def epochs(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Passes over each source under these weights."""
        return {s: w * self.tokens / n if n else 0.0 for s, w in weights.items() for n in [self.available[s]]}

    def caps(self) -> dict[str, float]:
        """Largest weight per source within `max_epochs`. PlanError: all sources together cannot fill the budget."""
        offered = int(self.max_epochs * sum(self.available.values()))
        if offered < self.tokens:
            worst = ", ".join(f"{s} {n:,}" for s, n in sorted(self.available.items(), key=lambda kv: kv[1]))
            raise PlanError(
                f"{self.tokens:,} tokens are asked for; {self.max_epochs:g} epochs of all sources ({worst}) give "
                f"{offered:,}: {self.tokens - offered:,} are missing. Add text, allow "
                f"{self.tokens / max(1, sum(self.available.values())):.2f} epochs, or train on {offered:,} tokens."
            )
        return {s: min(1.0, self.max_epochs * n / self.tokens) for s, n in self.available.items()}

    def unimax(self) -> Mapping[str, float]:
        """UniMax's weights under the same epochs."""
        return unimax(dict(self.available), self.tokens, self.max_epochs).weights

    def price(self) -> tuple[float, float]:
        """Hours of one device, and dollars, at the device's assumed utilisation. ConfigError: unknown device."""
        told = _device(self.device)
        hours = self.flops / (told.peak * told.utilisation) / 3600
        return hours, hours * told.dollars_per_hour


def priced(dollars: float) -> str:
    """Dollars in words, small ones to two digits.

    >>> priced(1234.5), priced(0.00093)
    ('$1,234.50', '$0.00093')
    """
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.2g}"


def dollars_at(n_params: float, tokens: float, device: str) -> float:
    """Price of one run of that size, by 6 FLOPs a parameter and token, at the device's assumed utilisation.

    ConfigError: unknown device.
    """
    told = _device(device)
    return 6 * n_params * tokens / (told.peak * share_at(n_params, told)) / 3600 * told.dollars_per_hour


def _device(name: str) -> Device:
    if name not in DEVICES:
        raise ConfigError(f"there is no device '{name}' in the price table.{nearest(name, DEVICES)}")
    return DEVICES[name]

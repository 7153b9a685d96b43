"""Options and arguments that several commands share."""

import os
from typing import Annotated

import typer

CORES = os.cpu_count() or 1
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show mix, epochs, tokens, FLOPs, time and price; train nothing.")
]
Device = Annotated[str, typer.Option(help="Device that is priced: cpu, a100, h100, h200.")]
Hourly = Annotated[float | None, typer.Option(help="Your own dollars per device-hour.", show_default="the table's")]
Utilisation = Annotated[
    float | None,
    typer.Option(help="Your own share of the device's peak, 0 to 1.", show_default="measured here, else the table's"),
]
Devices = Annotated[int, typer.Option(min=1, help="How many of them share a run: divides the hours, not the dollars.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="hydra overrides, e.g. mixture=uniform train.tokens=1e6")]
Workers = Annotated[int, typer.Option(help="Processes, one thread each.", show_default="one a core")]

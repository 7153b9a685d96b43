"""How the app is started: one command, the same settings wherever it is typed. Starts nothing itself."""

import sys
from pathlib import Path

ENTRY = Path(__file__).with_name("main.py")
SETTINGS = {
    "server.address": "127.0.0.1",  # the app writes files: it listens to this machine only
    "server.showEmailPrompt": "false",  # the first start asks for nothing
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",  # no deploy button
    "client.showErrorLinks": "false",  # an error offers no links to search engines: nothing leaves the machine
    "theme.light.primaryColor": "#00618F",  # 6.7:1 under white button text; the dark one 4.7:1
    "theme.light.backgroundColor": "#FFFFFF",
    "theme.light.secondaryBackgroundColor": "#F3F5F7",
    "theme.light.textColor": "#060D14",  # captions are this at 60 %: 5.1:1
    "theme.light.borderColor": "#CBD3DB",
    "theme.dark.primaryColor": "#287AAB",
    "theme.dark.backgroundColor": "#12181F",
    "theme.dark.secondaryBackgroundColor": "#1D252E",
    "theme.dark.textColor": "#E6EBF0",
    "theme.dark.borderColor": "#3A4652",
}
"""As in .streamlit/config.toml, which Streamlit finds only when started in the repository."""


def command(port: int | None = None, *, headless: bool = False) -> list[str]:
    """The argument list that starts the app on 127.0.0.1; `port` None lets Streamlit choose (8501 if free).

    `headless` opens no browser. The project directory is the working directory of the process that runs it,
    the lab is $MIXLAB_HOME or ./lab.
    """
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    flags += [f"--server.headless={str(headless).lower()}"]
    flags += [] if port is None else [f"--server.port={port}"]
    return [sys.executable, "-m", "mixlab.app.serve", "run", str(ENTRY), *flags]

"""How the app is started: one command, the same settings wherever it is typed. Starts nothing itself."""

import socket
import sys
from pathlib import Path

from mixlab.errors import EnvironmentFault

HOST, FIRST_PORT, PORTS = "127.0.0.1", 8501, 50
ENTRY = Path(__file__).with_name("main.py")
SETTINGS = {
    "server.address": HOST,  # the app writes files: it listens to this machine only
    "server.showEmailPrompt": "false",  # the first start asks for nothing
    "logger.hideWelcomeMessage": "true",  # `mixlab app` says where it is; no advertisement
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


def free_port(asked: int | None = None) -> int:
    """The port that was asked for, else the first free one from 8501. EnvironmentFault if it is, or all are, taken."""
    ports = range(FIRST_PORT, FIRST_PORT + PORTS) if asked is None else [asked]
    for port in ports:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((HOST, port))
            except (OSError, OverflowError):
                continue
        return port
    what = f"port {asked}" if asked is not None else f"every port from {FIRST_PORT} to {ports[-1]}"
    raise EnvironmentFault(
        f"{what} is taken on {HOST}, perhaps by another app, or not allowed. `mixlab app` without --port finds a free "
        f"one from {FIRST_PORT}; `mixlab app --port 9000` takes another."
    )

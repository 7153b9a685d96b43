"""One set of settings, whether the app is started by `streamlit run app.py` or by `mixlab app`."""

import ast
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tomllib

import pytest

from mixlab.app import launch, serve
from mixlab.errors import EnvironmentFault
from tests.app.synthetic_lab import ENTRY, ROOT


def flat(tree: dict, prefix: str = "") -> dict[str, str]:
    told = {}
    for key, value in tree.items():
        told |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return told


def test_the_config_file_and_the_flags_say_the_same():
    config = flat(tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text()))
    assert {k: v.lower() for k, v in config.items()} == {k: v.lower() for k, v in launch.SETTINGS.items()}


def test_the_command_listens_to_this_machine_only():
    argv = launch.command(8123, headless=True)
    assert argv[1:4] == ["-m", "mixlab.app.serve", "run"] and argv[4] == str(launch.ENTRY)
    assert {"--server.address=127.0.0.1", "--browser.gatherUsageStats=false", "--server.port=8123"} <= set(argv)
    assert not any(flag.startswith("--server.port") for flag in launch.command())


def test_a_taken_port_is_said_and_without_one_the_next_is_found():
    with socket.socket() as first:
        first.bind((launch.HOST, 0))
        first.listen()
        taken = first.getsockname()[1]
        with pytest.raises(EnvironmentFault, match=f"port {taken} is taken.*without --port finds a free one"):
            launch.free_port(taken)
    assert launch.free_port(taken) == taken
    assert launch.FIRST_PORT <= launch.free_port() < launch.FIRST_PORT + launch.PORTS
    with pytest.raises(EnvironmentFault):
        launch.free_port(99_999)


def test_ctrl_c_before_the_server_is_up_ends_the_app_without_a_traceback(tmp_path):
    env = {**os.environ, "MIXLAB_HOME": str(tmp_path / "lab")}
    argv = [sys.executable, "-m", "mixlab.cli", "app"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=tmp_path,
                          start_new_session=True) as app:  # fmt: skip
        assert app.stdout is not None
        assert "Ctrl-C ends it" in app.stdout.readline()
        os.killpg(app.pid, signal.SIGINT)  # as a terminal does: to the server, too
        assert (app.stdout.read(), app.wait(30)) == ("", 0)


def test_what_the_app_needs_is_there():
    assert ENTRY.read_text().count("\n") <= 5
    for name in ("main.py", "favicon.png", "sliders.js", "sliders.css"):
        assert (ROOT / "mixlab" / "app" / name).is_file()


def test_every_table_and_picture_has_words():
    for path in sorted((ROOT / "mixlab" / "app").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                is_shown = call.func.attr in ("dataframe", "image", "altair_chart", "vega_lite_chart", "data_editor")
                words = {k.arg for k in call.keywords}
                assert not is_shown or "alt" in words or path.name == "parts.py", f"{path.name}:{call.lineno}"


def test_no_string_of_a_script_is_shown_by_mistake():
    """Streamlit writes what stands alone in a script onto the page; the docstring on top is the only one it leaves."""
    pages = (ROOT / "mixlab" / "app" / "pages_").glob("*.py")
    for path in (ROOT / "app.py", ROOT / "mixlab" / "app" / "main.py", *pages):
        alone = [e.lineno for e in ast.parse(path.read_text()).body[1:] if isinstance(e, ast.Expr)]
        shown = [n for n in alone if path.read_text().splitlines()[n - 1].startswith(("'", '"', "f'", 'f"', "("))]
        assert not shown, f"{path.name}: {shown}"


def test_what_the_server_loads_beforehand_is_there():
    assert all(importlib.util.find_spec(f"mixlab.app.{name}") for name in (*serve.HOME, *serve.OTHERS))
    assert all(importlib.util.find_spec(name) for name in serve.LIBRARIES)


def test_a_page_is_at_most_150_lines():
    for page in (ROOT / "mixlab" / "app" / "pages_").glob("*.py"):
        assert len(page.read_text().splitlines()) <= 150, page.name

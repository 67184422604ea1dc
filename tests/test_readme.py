"""The commands of both READMEs, run by somebody who has Python, pip and git, and nothing else."""

import os
import re
import subprocess
import time
import venv
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError

import pytest

from tests.service import ADDRESS, DEADLINE, environment, open_url
from tests.template import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("readme")]

COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
# A first installation downloads what later ones have.
INSTALLATION = 300


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """The variables of a shell with an empty home and an empty environment."""
    home = tmp_path / "home"
    home.mkdir()
    venv.create(tmp_path / "python", with_pip=True)
    path = os.pathsep.join([str(tmp_path / "python" / "bin"), os.defpath])
    own = environment(HOME=str(home), PATH=path, PYTHONUNBUFFERED="1")
    return {name: value for name, value in own.items() if name not in ("UV_PYTHON", "UV_CACHE_DIR")}


def commands(readme: Path) -> list[str]:
    """Return the commands that a README shows, a block of them a string."""
    return [block.strip() for block in COMMANDS.findall(readme.read_text(encoding="utf-8"))]


def run(command: str, directory: Path, shell: dict[str, str]) -> str:
    """Run a command to its end, with the defaults for all that it asks, and return its output."""
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=shell,
        input="\n" * 30,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=INSTALLATION,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def serves(command: str, directory: Path, shell: dict[str, str]) -> bool:
    """Run a command that serves until somebody stops it, and ask what it serves."""
    output = directory / "output.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=directory,
            env=shell,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + INSTALLATION
        while process.poll() is None and time.monotonic() < deadline:
            # With auto-reload the address is said before anybody listens there.
            with suppress(URLError):
                if found := ADDRESS.search(output.read_text(encoding="utf-8")):
                    with open_url(f"{found[1]}/healthz", timeout=DEADLINE) as answer:
                        return bool(answer.status == 200)
            time.sleep(0.1)
        raise AssertionError(output.read_text(encoding="utf-8"))
    finally:
        os.killpg(process.pid, 15)
        process.wait(DEADLINE)


def test_a_newcomer_gets_from_nothing_to_a_running_service(
    tmp_path: Path, newcomer: dict[str, str]
) -> None:
    start, here, *_ = commands(ROOT / "README.md")
    assert "gh:OWNER/REPO" in start
    (tmp_path / "work").mkdir()
    assert serves(
        start.replace("gh:OWNER/REPO", f"'{ROOT}'") + " --port 0", tmp_path / "work", newcomer
    )

    run(here.replace("cookiecutter .", f"cookiecutter '{ROOT}'"), tmp_path, newcomer)
    start_it, test_it, *_ = commands(tmp_path / "my-service" / "README.md")
    assert "passed" in run(test_it, tmp_path / "my-service", newcomer)
    assert serves(start_it + " --port 0", tmp_path / "my-service", newcomer)


def test_the_test_command_sets_up_all_that_it_needs(
    tmp_path: Path, newcomer: dict[str, str]
) -> None:
    test_it = next(line for line in commands(ROOT / "README.md") if line.endswith("pytest"))
    assert f"\n{test_it}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(tmp_path / "clone")], check=True)
    # To collect the tests takes all that to run them takes; to run them all would never end.
    shell = newcomer | {"PYTEST_ADDOPTS": "--collect-only"}
    assert "test_the_test_command_sets_up" in run(test_it, tmp_path / "clone", shell)

"""The instructions of a Dockerfile, carried out without a container engine.

Except for `FROM`, whose images are not used, and `useradd`, whose user id the processes get here.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.conftest import Bake
from tests.support.options import NOTHING
from tests.support.service import DEADLINE, environment
from tests.support.template import files_below

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

USER = 10001
ADDUSER = "useradd --system --no-create-home --uid 10001 app"


@dataclass
class Stage:
    """One stage of a Dockerfile: the name and the arguments of each instruction."""

    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return the arguments of all instructions with a name."""
        return [rest for other, rest in self.instructions if other == name]

    def command(self, name: str) -> list[str]:
        """Return the exec form of the last instruction with a name, without options."""
        rest = self.all(name)[-1]
        words: list[str] = json.loads(rest[rest.index("[") :])
        return words

    def variables(self) -> dict[str, str]:
        """Return the variables that ENV sets."""
        words = [word for rest in self.all("ENV") for word in shlex.split(rest)]
        return dict(word.split("=", 1) for word in words)


def stages(project: Path) -> list[Stage]:
    """Return the stages of the Dockerfile of a project."""
    text = (project / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found: list[Stage] = []
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append(Stage())
        else:
            found[-1].instructions.append((name, rest.strip()))
    return found


@pytest.fixture(scope="module")
def user() -> int | None:
    """Return the id of an unprivileged user, or None if this process is unprivileged itself."""
    return USER if os.getuid() == 0 else None


@pytest.fixture(scope="module")
def python(user: int | None) -> str:
    """Return a Python that the user may run."""
    script = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (
        os.path.realpath(sys.executable),
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ):
        try:
            if (
                subprocess.run([candidate, "-c", script], cwd="/", user=user, group=user).returncode
                == 0
            ):
                return candidate
        except OSError:
            continue
    pytest.skip("no Python 3.11 here that every user may run")


@pytest.fixture(scope="module")
def root(bake: Bake, python: str, user: int | None) -> Iterator[Path]:
    """Build the file system of an image, with the project itself in the directory `project`."""
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        root = Path(name)
        root.chmod(0o755)
        answers = {"database": "sqlite", "use_websocket": True, "use_docker": True}
        shutil.copytree(bake(**NOTHING | answers), root / "project")
        subprocess.run(
            [find_uv_bin(), "lock", "-q"],
            cwd=root / "project",
            env=environment(UV_PYTHON=python),
            check=True,
        )
        build(root, python)
        (root / "data").mkdir()
        if user:
            os.chown(root / "data", USER, USER)
        yield root


def build(root: Path, python: str) -> None:
    """Carry out the instructions of the Dockerfile with `root` as the root directory."""
    first, last = stages(root / "project")
    srv = root / "srv"
    srv.mkdir()
    for name, rest in first.instructions:
        if name == "COPY" and not rest.startswith("--from="):
            copy(root / "project", rest, srv)
        elif name == "RUN":
            tool, *arguments = rest.split()
            assert tool == "uv"
            variables = environment(**first.variables() | {"UV_PYTHON": python})
            subprocess.run([find_uv_bin(), *arguments, "-q"], cwd=srv, env=variables, check=True)
    srv.rename(root / "build")
    srv.mkdir()
    for name, rest in last.instructions:
        if name == "COPY":
            source = rest.replace("--from=build /srv/", "")
            copy(root / ("build" if source != rest else "project"), source, srv)
        elif name == "RUN":
            assert rest == f"{ADDUSER} && install --directory --owner=app /data"


def copy(source: Path, rest: str, directory: Path) -> None:
    """Carry out a COPY. A pattern matches files, or one directory, which is copied completely."""
    *patterns, target = rest.split()
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_dir():
                shutil.copytree(path, directory / target, symlinks=True)
            else:
                shutil.copy(path, directory / target)


@pytest.fixture(scope="module")
def port() -> int:
    """Return a port that is free."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def variables(root: Path) -> dict[str, str]:
    """Return the variables that the Dockerfile, `.env` and `compose.yaml` set."""
    env = (root / "project/.env").read_text(encoding="utf-8").splitlines()
    named = dict(line.split("=", 1) for line in env if not line.startswith("#"))
    own = stages(root / "project")[-1].variables()
    path = own.pop("PATH").replace("/srv/", f"{root}/srv/").replace("$PATH", os.defpath)
    database = {"DATABASE_URL": f"sqlite:///{root}/data/app.db"}
    return own | named | database | {"PATH": path}


def test_the_image_has_no_development_tools(root: Path) -> None:
    packages = {path.name for path in (root / "srv/.venv/lib").glob("*/site-packages/*")}
    assert {"fastapi", "uvicorn", "opentelemetry"} <= packages
    assert not {"pytest", "mypy", "ruff", "pip", "uv", "coverage"} & packages
    assert not (root / "srv/.env").exists()
    assert not (root / "srv/tests").exists()


def test_it_runs_unprivileged_on_a_read_only_file_system(
    root: Path, port: int, variables: dict[str, str], user: int | None
) -> None:
    stage = stages(root / "project")[-1]
    here = {"8000": str(port), "0.0.0.0": "127.0.0.1"}
    command = [here.get(word, word) for word in stage.command("CMD")]
    probe = [word.replace("8000", str(port)) for word in stage.command("HEALTHCHECK")]
    for words in (command, probe):
        words[0] = f"{root}/srv/.venv/bin/{words[0]}"

    def is_healthy() -> bool:
        result = subprocess.run(
            probe, env=variables, cwd="/", capture_output=True, user=user, group=user
        )
        return bool(result.returncode == 0)

    before = files_below(root / "srv")
    assert not is_healthy()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=root / "srv", env=variables, stdout=log, stderr=log, user=user, group=user
        )
        try:
            deadline = time.monotonic() + DEADLINE
            while not is_healthy():
                log.seek(0)
                assert process.poll() is None, log.read().decode()
                assert time.monotonic() < deadline
            process.send_signal(signal.Signals[stage.all("STOPSIGNAL")[0]])
            assert process.wait(DEADLINE) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            process.wait()
    assert files_below(root / "srv") == before
    assert (root / "data/app.db").exists()


@pytest.mark.parametrize("command", ["alembic current", "python -m app.check --help"])
def test_other_commands_run_in_the_image(
    command: str, root: Path, variables: dict[str, str], user: int | None
) -> None:
    program, *arguments = command.split()
    subprocess.run(
        [root / "srv/.venv/bin" / program, *arguments],
        cwd=root / "srv",
        env=variables,
        check=True,
        user=user,
        group=user,
    )

"""Run the commands of a document as a new user with Python, pip, git and curl would.

The user's home directory is empty. Git knows the user's name, which it requires for a commit.
CONTRIBUTING.md explains how to write documents for this.
"""

import os
import re
import signal
import subprocess
import sys
import time
import venv
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from urllib.error import URLError

from tests.support.redis_server import free_port
from tests.support.service import DEADLINE, environment, open_url
from tests.support.template import copy_checkout

ADDRESS = "https://github.com/OWNER/REPO"
# In seconds, because the first installation downloads all packages.
INSTALLATION = 600

# Each block runs in a new shell, which continues with the state of the previous one.
PRELUDE = r"""
set -eo pipefail
touch '{0}/others'
. '{0}/others'
trap 'env -0 > "{0}/exported"; declare -p | grep "^declare -- [A-Z_]*=\".*\"$" > "{0}/others"' EXIT
"""

_fences = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_marker = re.compile(r"<!-- (not run|serves|fails): (.*?) -->\s*\Z", re.DOTALL)
_shells = ("sh", "bash", "console")


@dataclass(frozen=True)
class Block:
    """A block of commands in a document.

    `line`: its line number. `marker`: `not run`, `serves`, `fails` or None. `because`: the text of
    the marker, such as a reason or an address. `prints`: the expected output, in which `...`
    matches anything.
    """

    line: int
    code: str
    marker: str | None
    because: str
    prints: str | None


def blocks(text: str) -> list[Block]:
    """Return the blocks of commands in a Markdown document."""
    found = []
    end = 0
    fences = list(_fences.finditer(text))
    for fence, after in zip_longest(fences, fences[1:]):
        if fence[1] in _shells:
            marker = _marker.search(text, end, fence.start())
            is_output = (
                after
                and after[1] in ("text", "json")
                and not text[fence.end() : after.start()].strip()
            )
            found.append(
                Block(
                    line=text.count("\n", 0, fence.start()) + 1,
                    code=fence[2].replace("\n$ ", "\n").removeprefix("$ "),
                    marker=marker[1] if marker else None,
                    because=marker[2] if marker else "",
                    prints=after[2].strip() if after and is_output else None,
                )
            )
        end = fence.end()
    return found


def repository(directory: Path) -> Path:
    """Create a Git repository with the contents of this one, uncommitted changes included."""
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    target = directory / "template.git"
    copy_checkout(target)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], cwd=target, check=True)
    return target


def git_settings(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment variables that configure Git without a file."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (name, value) in enumerate(settings.items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


class Newcomer:
    """A user who runs commands. Git fetches the directory `template` instead of `ADDRESS`."""

    def __init__(self, directory: Path, template: Path) -> None:
        for name in ("home", "work"):
            (directory / name).mkdir()
        venv.create(directory / "python", with_pip=True)
        own = environment(
            HOME=str(directory / "home"),
            PWD=str(directory / "work"),
            PATH=os.pathsep.join([str(directory / "python" / "bin"), os.defpath]),
            PYTHONUNBUFFERED="1",
            **git_settings(
                {
                    f"url.{template.with_suffix('').as_uri()}.insteadOf": ADDRESS,
                    "user.name": "Ada Lovelace",
                    "user.email": "ada@example.com",
                }
            ),
        )
        self.variables = {
            name: value for name, value in own.items() if name not in ("UV_PYTHON", "UV_CACHE_DIR")
        }
        self.directory = directory
        self.port = str(free_port())
        self.variables["UVICORN_PORT"] = self.port
        self.words = {"8000": self.port}
        self.servers: dict[str, subprocess.Popen[bytes]] = {}

    def reject_pip(self) -> None:
        """Replace Python by one like that of Debian, which rejects `pip install` (PEP 668)."""
        programs = self.directory / "system"
        programs.mkdir()
        (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
        for name in ("pip", "pip3"):
            program = programs / name
            program.write_text("#!/bin/sh\necho 'error: externally-managed-environment'; exit 1\n")
            program.chmod(0o755)
        self.variables["PATH"] = os.pathsep.join([str(programs), os.defpath])

    def follow(self, block: Block) -> None:
        """Run a block as its marker says, and check its output."""
        if block.marker == "not run":
            return
        if block.marker == "serves":
            self.serve(block.code, block.because)
            return
        output = self.run(block.code, fails=block.marker == "fails")
        if block.prints is not None:
            pattern = re.escape(self.local(block.prints)).replace(re.escape("..."), ".*")
            found = re.search(pattern, output, re.DOTALL)
            assert found, f"line {block.line}: expected\n{block.prints}\n\nin:\n\n{output}"

    def run(self, code: str, *, fails: bool = False) -> str:
        """Run commands, and return their output.

        They must exit with status 0, or with another status if `fails`. Every prompt gets Enter.
        The next commands continue with the same directory and variables.
        """
        result = subprocess.run(
            ["bash", "-c", PRELUDE.format(self.directory) + self.local(code)],
            cwd=self.variables["PWD"],
            env=self.variables,
            input="\n" * 30,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=INSTALLATION,
        )
        assert bool(result.returncode) is fails, f"{code}\n{result.stdout}"
        exported = (self.directory / "exported").read_text(encoding="utf-8").split("\0")
        self.variables = dict(line.split("=", 1) for line in exported if line)
        return result.stdout

    def serve(self, code: str, url: str) -> None:
        """Start a server, and wait until it responds at `url`, unless that is not a URL.

        A server that was started before for the same address is stopped first.
        """
        url = self.local(url)
        server = url.rpartition("/")[0] or url
        self.stop(server)
        output = self.directory / f"server-{len(self.servers)}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"set -eo pipefail\n{self.local(code)}"],
                cwd=self.variables["PWD"],
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.servers[server] = process
        deadline = time.monotonic() + INSTALLATION
        while "://" in url and process.poll() is None and time.monotonic() < deadline:
            with suppress(URLError, ConnectionError), open_url(url, timeout=DEADLINE):
                return
            time.sleep(0.1)
        assert "://" not in url, f"{code}\n{output.read_text(encoding='utf-8')}"

    def local(self, text: str) -> str:
        """Return a text with the ports of this test instead of the documented ones."""
        for word, replacement in self.words.items():
            text = re.sub(rf"\b{word}\b", replacement, text)
        return text

    def stop(self, *servers: str) -> None:
        """Stop these servers, or by default all of them."""
        for server in servers or list(self.servers):
            if process := self.servers.pop(server, None):
                for stop in (signal.SIGTERM, signal.SIGKILL):
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, stop)
                    # A server that does not stop in time is killed next.
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(DEADLINE)

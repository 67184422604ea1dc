"""A run that fails or is interrupted changes no file of the user, and says what it has left."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.options import COMBINATIONS, DEFAULTS
from tests.support.service import DEADLINE, environment, uv
from tests.support.template import ROOT, TREE, cookiecutter, files_below, template_files

# Files of the user in the project directory and beside it. `-f` accepts a directory with `.git`.
REPOSITORY = {"my-service/.git/HEAD": "ref: refs/heads/main\n", "my-service/.git/uv.lock": "mine\n"}
BESIDE = {"notes.txt": "mine\n", "other/app/main.py": "mine\n", "other/.env": "MINE=1\n"}
WORK = {
    "my-service/.env": "SECRET=mine\n",
    "my-service/app/main.py": "mine\n",
    "my-service/app/api/routes/mine.py": "mine\n",
    "my-service/app/middleware/api_key.py": "mine, of an option that is off\n",
    "my-service/README.md": "mine\n",
    "my-service/uv.lock": "mine\n",
}

# Root may write everywhere unless it drops this capability.
WITHIN_PERMISSIONS = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()

Files = dict[str, str]


def have(directory: Path, files: Files) -> Path:
    """Write files into a directory, and return it."""
    directory.mkdir(exist_ok=True)
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(content, encoding="utf-8")
    return directory


def still_has(directory: Path, files: Files) -> bool:
    """Return whether the files exist and are unchanged."""
    return all((directory / path).read_text(encoding="utf-8") == files[path] for path in files)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Return a copy of the template that tests may change."""
    copy = tmp_path / "template"
    copy.mkdir()
    shutil.copy2(ROOT / "cookiecutter.json", copy)
    shutil.copytree(ROOT / "hooks", copy / "hooks", ignore=shutil.ignore_patterns("__pycache__"))
    for path in template_files():
        (copy / TREE.name / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TREE / path, copy / TREE.name / path)
    return copy


def start(
    template: Path,
    output: Path,
    *arguments: str,
    prepare: Callable[[], None] | None = None,
    within: tuple[str, ...] = (),
) -> subprocess.Popen[str]:
    """Start Cookiecutter in a new process group, as a shell does."""
    home = output.parent / "home"
    home.mkdir(exist_ok=True)
    return subprocess.Popen(
        [
            *(*within, sys.executable, "-m", "cookiecutter", str(template), "--no-input"),
            *("-o", str(output), *arguments),
        ],
        env=environment(HOME=str(home), PYTHONUTF8="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
        preexec_fn=prepare,
    )


def wait(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition is true, while the process runs."""
    deadline = time.monotonic() + DEADLINE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_hook(name: str, template: Path) -> Callable[[], bool]:
    """Make a hook wait for a signal, and return a function that tells whether it waits."""
    reached = template.parent / "reached"
    hook = template / "hooks" / f"{name}.py"
    pause = f"import signal; open({str(reached)!r}, 'w').close(); signal.pause()"
    source = hook.read_text(encoding="utf-8")
    assert source.count("    try:\n        main()\n") == source.count("        main()\n") == 1
    changed = source.replace("        main()\n", f"        {pause}\n        main()\n")
    hook.write_text(changed, encoding="utf-8")
    return reached.exists


def in_rendering(template: Path) -> Callable[[], bool]:
    """Make Cookiecutter wait for a file, and return a function that tells whether it waits."""
    pipe = template / TREE.name / "app" / "factory.py"
    pipe.unlink()
    os.mkfifo(pipe)
    writers: list[int] = []

    def reached() -> bool:
        try:
            writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        return bool(writers)

    return reached


def interrupted(process: subprocess.Popen[str], happened: Callable[[], bool]) -> str:
    """Send SIGINT once a condition is true, as Ctrl-C does. Return the standard error."""
    wait(happened, process)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    return stderr


MOMENTS = [
    pytest.param("pre_gen_project", {}, marks=pytest.mark.slow),
    pytest.param("pre_gen_project", REPOSITORY, marks=pytest.mark.slow),
    pytest.param("rendering", {}, marks=pytest.mark.slow),
    pytest.param("rendering", REPOSITORY, marks=pytest.mark.slow),
    pytest.param("post_gen_project", {}, marks=pytest.mark.slow),
    pytest.param("post_gen_project", REPOSITORY),
]


@pytest.mark.parametrize(("moment", "repository"), MOMENTS)
def test_an_interrupted_run_loses_nothing_and_can_be_repeated(
    template: Path, tmp_path: Path, moment: str, repository: Files
) -> None:
    mine = BESIDE | repository
    output = have(tmp_path / "out", mine)
    unchanged = tmp_path / "as it was"
    shutil.copytree(template, unchanged)
    happened = in_rendering(template) if moment == "rendering" else in_hook(moment, template)
    arguments = ["-f"] if repository else []

    stderr = interrupted(start(template, output, *arguments), happened)
    assert still_has(output, mine)
    assert "Aborted!" in stderr
    project = output / "my-service"
    generated = files_below(project) - {".git/HEAD", ".git/uv.lock"}
    if moment == "rendering":
        # No hook runs then, and Cookiecutter prints nothing else.
        assert generated
    else:
        assert "ERROR: Interrupted" in stderr
        assert str(project) in stderr
        assert "Traceback" not in stderr
        assert bool(generated) == (moment == "post_gen_project")

    # A second run fails, changes nothing, and succeeds after the remaining files are deleted.
    left = {path: (project / path).read_bytes() for path in files_below(project)}
    again = start(unchanged, output)
    stdout, stderr = again.communicate(timeout=DEADLINE)
    assert again.returncode == 1
    assert f'"{project}" directory already exists' in stdout
    if generated:
        again = start(unchanged, output, "-f")
        _, stderr = again.communicate(timeout=DEADLINE)
        assert again.returncode == 1
        assert "delete what an interrupted run left there" in stderr
    assert {path: (project / path).read_bytes() for path in files_below(project)} == left
    for entry in project.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    again = start(unchanged, output, "-f")
    stdout, stderr = again.communicate(timeout=DEADLINE)
    assert (again.returncode, stderr) == (0, "")
    assert still_has(output, mine)
    assert (project / ".env").is_file()


@pytest.mark.parametrize("flags", ["", "-f -s", "-s", "-f --keep-project-on-failure"])
def test_an_existing_project_is_not_overwritten(flags: str, tmp_path: Path) -> None:
    output = have(tmp_path / "out", WORK | BESIDE)
    before = files_below(output)
    result = cookiecutter("--no-input", *flags.split(), output=output)
    assert result.returncode == 1
    assert "already exists" in result.stdout or "of this name is not empty" in result.stderr
    assert still_has(output, WORK | BESIDE)
    assert files_below(output) == before


def limit() -> None:
    """Limit the size of files to 200 kB, to simulate a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))


@pytest.mark.parametrize("repository", [{}, REPOSITORY], ids=["fresh", "repository"])
def test_the_disk_is_full_when_env_is_written(
    template: Path, tmp_path: Path, repository: Files
) -> None:
    # Each placeholder is replaced with a secret that is six times as long.
    with (template / TREE.name / ".env.example").open("a", encoding="utf-8") as example:
        example.writelines(f"SECRET_{number}=change-me\n" for number in range(5_000))
    mine = BESIDE | repository
    output = have(tmp_path / "out", mine)
    process = start(template, output, *(["-f"] if repository else []), prepare=limit)
    _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    project = output / "my-service"
    assert "ERROR: The project could not be completed: OSError: " in stderr
    assert f"If {project} still exists, it is incomplete" in stderr
    assert still_has(output, mine)
    assert project.exists() == bool(repository)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system that is too small for a project."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, encoding="utf-8")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_disk_is_full_while_the_project_is_written(small_disk: Path) -> None:
    output = have(small_disk / "out", BESIDE | REPOSITORY)
    (small_disk / "home").mkdir()
    process = start(ROOT, output, "-f")
    _, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    # Whether Cookiecutter names the file depends on whether it copies or renders it.
    assert "No space left on device" in stderr
    assert still_has(output, BESIDE | REPOSITORY)


@pytest.mark.parametrize("place", ["out", "out/my-service"])
def test_a_directory_is_read_only(tmp_path: Path, place: str) -> None:
    mine = BESIDE | (REPOSITORY if place != "out" else {})
    output = have(tmp_path / "out", mine)
    if WITHIN_PERMISSIONS and not shutil.which(WITHIN_PERMISSIONS[0]):
        pytest.skip("there is no setpriv to give up what root may do")
    (tmp_path / place).chmod(0o555)
    process = start(ROOT, output, "-f", within=WITHIN_PERMISSIONS)
    _, stderr = process.communicate(timeout=DEADLINE)
    (tmp_path / place).chmod(0o755)
    assert process.returncode == 1
    assert "Permission denied" in stderr
    assert str(output / "my-service") in stderr
    assert still_has(output, mine)
    assert files_below(output) == set(mine)


def test_without_hooks_no_file_is_written_outside_of_the_output_directory(tmp_path: Path) -> None:
    output = have(tmp_path / "out", {})
    arguments = ["--accept-hooks", "no", "project_slug=../up"]
    result = cookiecutter("--no-input", *arguments, output=output)
    assert result.returncode == 1
    assert "project_slug: is not a valid directory name" in result.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == {"out", "home"}
    assert list(output.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("combination", ["default", "nothing", "everything"])
def test_without_hooks_a_project_still_starts(combination: str, tmp_path: Path) -> None:
    answers = [f"{question}={answer}" for question, answer in COMBINATIONS[combination].items()]
    result = cookiecutter("--no-input", "--accept-hooks", "no", *answers, output=tmp_path / "out")
    assert result.returncode == 0, result.stderr
    project = tmp_path / "out" / str(DEFAULTS["project_slug"])
    assert files_below(project) >= template_files()
    assert not (project / ".env").exists()
    shutil.copy(project / ".env.example", project / ".env")
    uv(project, "run", "-q", "python", "-c", "import app.main")

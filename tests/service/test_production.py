"""The Dockerfile, the Compose file and the CI pipelines of a project."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from uv import find_uv_bin

from tests.conftest import Bake
from tests.service.test_image import stages
from tests.support.options import EVERYTHING, NOTHING, Answers
from tests.support.service import environment

# By name: the answers, and the third-party services that the project runs with.
SHIPPED: dict[str, tuple[Answers, set[str]]] = {
    "nothing": (NOTHING, set()),
    "sqlite": (NOTHING | {"database": "sqlite"}, set()),
    "everything": (EVERYTHING, {"redis"}),
    "postgresql": (NOTHING | {"database": "postgresql"}, {"postgres"}),
    "both": (EVERYTHING | {"database": "postgresql"}, {"postgres", "redis"}),
    "rate limit": (NOTHING | {"use_rate_limit": True}, {"redis"}),
}
TOOLS = Path(sys.executable).parent
FROM = re.compile(r"^(?:FROM|COPY --from=)\s*(\S+[:@]\S+)", re.MULTILINE)
# The action, its commit, and its version in a comment.
PINNED = re.compile(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\n")


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request: pytest.FixtureRequest, bake: Bake) -> tuple[Path, set[str]]:
    """Return a project with a Dockerfile and a workflow, and the third-party services it needs."""
    answers, services = SHIPPED[request.param]
    return bake(**answers | {"use_docker": True, "ci": "github"}), services


def compose(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Compose in a project, without the variables of this shell."""
    return subprocess.run(
        [TOOLS / "docker-compose", *arguments],
        cwd=project,
        env={"PATH": str(TOOLS), "HOME": str(project)},
        capture_output=True,
        encoding="utf-8",
    )


def composition(project: Path) -> dict[str, Any]:
    """Return the services of a project as Compose reads them."""
    result = compose(project, "config", "--format", "json")
    assert result.returncode == 0, result.stderr
    services: dict[str, Any] = json.loads(result.stdout)["services"]
    return services


def test_the_dockerfile_passes_hadolint(shipped: tuple[Path, set[str]]) -> None:
    project, _ = shipped
    subprocess.run([TOOLS / "hadolint", project / "Dockerfile"], check=True)


def test_images_are_pinned_and_the_last_has_no_tools(shipped: tuple[Path, set[str]]) -> None:
    project, _ = shipped
    dockerfile = (project / "Dockerfile").read_text(encoding="utf-8")
    images = FROM.findall(dockerfile)
    assert len(images) == 3
    images += re.findall(r"image: (\S+)", (project / "compose.yaml").read_text(encoding="utf-8"))
    for image in images:
        assert re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), image
    final = dockerfile.rpartition("\nFROM ")[2]
    assert not re.search(r"\b(uv|pip|apt|apt-get|curl) ", final)
    assert re.search(r"^USER 10001\n(?!.*^RUN )", final, re.MULTILINE | re.DOTALL)
    assert "\nSTOPSIGNAL SIGTERM\n" in final
    assert '\nCMD ["python", "-m", "app.serve", ' in final


def test_compose_starts_the_services_of_the_chosen_options(shipped: tuple[Path, set[str]]) -> None:
    project, others = shipped
    services = composition(project)
    is_migrated, is_queued = "postgres" in others, (project / "app/worker.py").exists()
    expected = {"app", *others, *["migrate"] * is_migrated, *["worker"] * is_queued}
    assert set(services) == expected
    assert all("healthcheck" in services[name] for name in others)
    app = services["app"]
    waits = {name: wait["condition"] for name, wait in app.get("depends_on", {}).items()}
    assert waits == {
        name: "service_completed_successfully" if name == "migrate" else "service_healthy"
        for name in expected & {"migrate", "redis"}
    }
    if is_migrated:
        assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
        assert services["migrate"]["command"] == ["alembic", "upgrade", "head"]


def test_the_containers_have_few_privileges(shipped: tuple[Path, set[str]]) -> None:
    project, others = shipped
    services = composition(project)
    for name in set(services) - others:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["stop_grace_period"].removesuffix("s")) > 20
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert [(port["host_ip"], port["published"]) for port in ports] == [("127.0.0.1", "8000")]


def test_every_project_has_its_own_database_password(bake: Bake) -> None:
    passwords = set()
    for _ in range(2):
        project = bake(database="postgresql")
        services = composition(project)
        passwords.add(password := services["postgres"]["environment"]["POSTGRES_PASSWORD"])
        assert len(password) == 64
        for name in ("app", "migrate"):
            url = services[name]["environment"]["DATABASE_URL"]
            assert url == f"postgresql://app:{password}@postgres/app"
    assert len(passwords) == 2
    (project / ".env").write_text("", encoding="utf-8")
    assert (
        "POSTGRES_PASSWORD is missing a value: set it in .env" in compose(project, "config").stderr
    )


def test_the_error_for_a_missing_lock_file_says_what_to_do(tmp_path: Path, bake: Bake) -> None:
    project = bake()
    assert not (project / "uv.lock").exists()
    stage, _ = stages(project)
    assert "pyproject.toml uv.loc[k] ./" in stage.all("COPY")
    shutil.copy(project / "pyproject.toml", tmp_path)
    (command,) = stage.all("RUN")
    result = subprocess.run(
        [find_uv_bin(), *command.split()[1:]],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode != 0
    assert "create a lockfile, run `uv lock`" in " ".join(result.stderr.split())


@pytest.mark.parametrize("combination", SHIPPED)
@pytest.mark.parametrize("use_docker", [True, False])
def test_the_workflow_has_few_rights_and_pinned_actions(
    bake: Bake, combination: str, use_docker: bool
) -> None:
    answers, services = SHIPPED[combination]
    project = bake(**answers | {"ci": "github", "use_docker": use_docker})
    path = project / ".github/workflows/ci.yml"
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in workflow["jobs"].values())
    assert text.count("uses: ") == len(PINNED.findall(text))
    assert "secrets." not in text
    job = workflow["jobs"]["test"]
    assert set(job.get("services", {})) == services
    assert (job.get("env", {}).get("REQUIRE_SERVICES") == "1") is bool(services)
    builds = [step.get("run") for step in workflow["jobs"].get("image", {}).get("steps", [])]
    assert ("docker build ." in builds) is use_docker
    updates = yaml.safe_load((project / ".github/dependabot.yml").read_text(encoding="utf-8"))
    ecosystems = {update["package-ecosystem"] for update in updates["updates"]}
    docker = {"docker", "docker-compose"} if use_docker else set()
    assert ecosystems == {"github-actions", "uv"} | docker


@pytest.mark.parametrize("combination", SHIPPED)
def test_both_pipelines_run_the_same_checks(bake: Bake, combination: str) -> None:
    answers, services = SHIPPED[combination]
    pipeline = yaml.safe_load(
        (bake(**answers | {"ci": "gitlab", "use_docker": True}) / ".gitlab-ci.yml").read_text()
    )
    names = {image.partition(":")[0] for image in pipeline["test"].get("services", [])}
    assert names == services
    assert pipeline["test"]["script"] == checks(bake(**answers | {"ci": "github"}))
    assert pipeline["image"]["script"] == ["docker build ."]
    hosts = {name for name in services if f"{name}:" in str(pipeline["test"]["variables"])}
    assert hosts == services


def checks(project: Path) -> list[str]:
    """Return the commands in the workflow of a project."""
    workflow = yaml.safe_load((project / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    return [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step]


def test_the_readme_has_the_commands_of_the_workflow(bake: Bake) -> None:
    project = bake()
    readme = (project / "README.md").read_text(encoding="utf-8")
    for command in checks(project)[1:]:
        assert command.removesuffix(" --check") in readme


@pytest.mark.slow
def test_the_commands_of_the_workflow_and_of_pre_commit_run(bake: Bake) -> None:
    project = bake(**NOTHING | {"ci": "github"})
    commands = checks(project)
    assert commands[0] == "uv sync --locked"
    hooks = yaml.safe_load((project / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    commands += [hook["entry"] for repository in hooks["repos"] for hook in repository["hooks"]]
    for command in ["uv lock", *commands]:
        result = subprocess.run(
            [find_uv_bin(), *command.split()[1:]],
            cwd=project,
            env=environment(REQUIRE_SERVICES="1"),
            capture_output=True,
            encoding="utf-8",
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}{result.stderr}"

"""The runner of documents finds commands that do not work as documented."""

from pathlib import Path

import pytest

from tests.support.newcomer import Block, Newcomer, blocks

DOCUMENT = """
<!-- not run: needs a Docker engine -->

```sh
docker compose up
```

Nothing of this is a command: `ls`.

```python
print()
```

<!-- serves: http://localhost:8000/healthz -->
```bash
uvicorn app.main:app
```

```console
$ cd my-service
$ ls
```

```text
app
...
```

<!-- fails: there is no such thing -->

```sh
ls nothing
```

And this is not what it prints:

```text
app
```
"""


def test_the_blocks_of_a_document_are_found() -> None:
    assert blocks(DOCUMENT) == [
        Block(4, "docker compose up\n", "not run", "needs a Docker engine", None),
        Block(15, "uvicorn app.main:app\n", "serves", "http://localhost:8000/healthz", None),
        Block(19, "cd my-service\nls\n", None, "", "app\n..."),
        Block(31, "ls nothing\n", "fails", "there is no such thing", None),
    ]


def block(code: str, marker: str | None = None, prints: str | None = None) -> Block:
    """Return a block of a document."""
    return Block(1, code, marker, "http://localhost:8000/", prints)


@pytest.mark.slow
def test_wrong_blocks_fail(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, tmp_path / "template.git")
    good = [
        block("mkdir there && cd there && NAME='an \"odd\" one' && export SHOWN=1"),
        block("basename $PWD; echo $NAME; env", prints='there\nan "odd" one\n...SHOWN=1'),
        block('cd ~ && test -z "$(ls -A)"'),
        block("exit 3", "fails"),
        block("docker compose up", "not run"),
    ]
    for each in good:
        newcomer.follow(each)
    bad = [
        block("false"),
        block("false | cat"),
        block("false; true"),
        block("true", "fails"),
        block("env | grep ^NAME="),
        block("echo yes", prints="no"),
        block("echo 8000", prints="8000 1"),
        block("echo 'no server'", "serves"),
        block("which cookiecutter"),
    ]
    for each in bad:
        with pytest.raises(AssertionError):
            newcomer.follow(each)

"""Count the lines and conditions that wire the options: `uv run python -m tests.support.wiring`."""

import re
from collections import Counter

from tests.support.options import QUESTIONS, enabling_answers
from tests.support.template import TREE, is_copied, template_files

# The modules that compose the service.
COMPOSITION = ["app/config.py", "app/factory.py", "app/stack.py"]

CONDITION = re.compile(r"# {%-? *(?:if|elif) (.*?) *[-+]?%}")


def composition_lines() -> int:
    """Return the number of lines of the modules that compose the service."""
    return sum(len((TREE / path).read_text("utf-8").splitlines()) for path in COMPOSITION)


def conditions_of(question: str) -> Counter[str]:
    """Return the number of conditions that name a question in each file that has any."""
    return Counter(
        path
        for path in template_files()
        if not is_copied(path)
        for condition in CONDITION.findall((TREE / path).read_text("utf-8"))
        if re.search(rf"cookiecutter\.{question}\b", condition)
    )


def main() -> None:
    """Print the counts."""
    print(f"{composition_lines()} lines in {', '.join(COMPOSITION)}")
    for question in filter(enabling_answers, QUESTIONS):
        found = conditions_of(question)
        print(f"{question}: {found.total()} conditions in {len(found)} files")


if __name__ == "__main__":
    main()

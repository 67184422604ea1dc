"""Tasks: work apart from the request that asked for it, and what it can use."""

from dataclasses import dataclass
from typing import TypeVar

from fastapi import FastAPI

from app.core.settings import CoreSettings

# {%- if cookiecutter.database != "none" +%}
from app.db.sessions import Sessions

# {%- endif +%}

S = TypeVar("S", bound=CoreSettings)


@dataclass(frozen=True)
class TaskContext:
    """What a task can use: its first parameter, if that has this type.

    `get_settings(MailSettings)` returns the settings of this service as the class that the task
    needs. Log with `logging.getLogger(__name__)`: records carry the ids of the task and of the
    request that asked for it.
    # {% if cookiecutter.database != "none" %}
    `sessions.begin()` opens a session of the database, and commits at the end of the block.
    # {% endif %}
    """

    settings: CoreSettings
    # {% if cookiecutter.database != "none" %}
    sessions: Sessions
    # {% endif %}

    def get_settings(self, kind: type[S]) -> S:
        """Return the settings as `kind`; raise TypeError if `Settings` does not inherit it."""
        if not isinstance(self.settings, kind):
            raise TypeError(f"let Settings in app/config.py inherit {kind.__name__}")
        return self.settings


def create_context(app: FastAPI) -> TaskContext:
    """Return the context of tasks that run in the service itself."""
    # {% if cookiecutter.database != "none" %}
    return TaskContext(app.state.settings, app.state.sessions)
    # {% else %}    return TaskContext(app.state.settings)
    # {% endif %}

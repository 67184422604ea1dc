"""The database: which one it is, is decided here."""

# {% if cookiecutter.database == "sqlite" %}
from app.db.sqlite import DatabaseSettings, create_engine, prepare

# {%- else +%}from app.db.postgresql import DatabaseSettings, create_engine, prepare
# {%- endif +%}

__all__ = ["DatabaseSettings", "create_engine", "prepare"]

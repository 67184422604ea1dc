"""Access tokens: whether this service issues them or others do, is decided here."""

# {% if cookiecutter.jwt == "issue" %}
from app.auth.issue import JWTSettings, create_verifier

# {%- else +%}from app.auth.verify import JWTSettings, create_verifier
# {%- endif +%}

__all__ = ["JWTSettings", "create_verifier"]

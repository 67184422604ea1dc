"""The application that servers import: `app.main:app`."""

from app.config import get_settings
from app.core.logging import configure_logging
from app.factory import create_app

configure_logging(get_settings())
app = create_app()

"""What a server imports: `app.main:app`, with the settings of the environment."""

from app.config import get_settings
from app.core.logging import configure_logging
from app.factory import create_app

configure_logging(get_settings())
app = create_app()

"""An outage of the database, logged once however many requests it fails."""

import logging

logger = logging.getLogger(__name__)


class Outage:
    """Whether the database is unavailable, as far as this process knows."""

    def __init__(self) -> None:
        self.has_begun = False

    def begin(self, error: Exception) -> None:
        """Log the error that shows the outage, unless an earlier one has."""
        if not self.has_begun:
            self.has_begun = True
            logger.error("the database is unavailable: %s", error)

    def end(self) -> None:
        """Log that the database responds again, if there was an outage."""
        if self.has_begun:
            self.has_begun = False
            logger.warning("the database is available again")

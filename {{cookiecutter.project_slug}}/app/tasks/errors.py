"""What can go wrong with a task, apart from what it does itself."""


class QueueFull(Exception):
    """As many tasks wait as the queue may hold."""


class InvalidArguments(Exception):
    """The arguments do not fit the function. The text names them, and does not quote them."""


class TaskTimeout(Exception):
    """A try took longer than `TASK_TIMEOUT`."""

"""The base class of every fault that a user can mend; the command line prints it as one line, without a traceback."""


class DeflectError(ValueError):
    """A fault with a remedy: the message names the file or key, what was expected, what was found and what to do."""

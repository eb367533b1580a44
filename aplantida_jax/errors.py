"""The one exception that a user is meant to see."""


class UserError(Exception):
    """Something that the user can mend; `main` prints it as one line, no traceback.

    The message says what is wrong, where, and how to mend it.

    Attributes:
        exit_code: 1 for bad input or a missing artefact, 2 for a wrong command line.
    """

    def __init__(self, message: str, *, exit_code: int = 1):
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code

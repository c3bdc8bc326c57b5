"""What a user has to hear: a sentence that says what was found, where, and what to do."""


class UserError(ValueError):
    """Something that the user gave cannot be used; the message is shown as it is, without a traceback.

    Whatever else is raised is a fault of this package, of the host or of the machine, and keeps its traceback.
    """

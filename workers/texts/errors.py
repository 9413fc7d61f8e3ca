"""Why a text was not cut or analysed."""


class TextFailed(Exception):
    """The text can't be cut or analysed: the step itself failed. Mend the step, then have the event retried."""


class TextTookTooLong(TextFailed):
    """The text took longer than a text of its length may, and was stopped: `hung`."""


class TextProcessDied(TextFailed):
    """The process that works on texts died of this one, twice and with no other beside it: `killed`."""


class TextTooLarge(TextFailed):
    """The text takes more memory than the process that works on texts may have: `memory`."""


class TextProcessUnavailable(Exception):
    """The process that works on texts does not start: the machine's fault, so trying again makes sense."""


class ProcessEnded(Exception):
    """The process ended, or was ended, before a job's answer was whole.

    Attributes:
        is_too_long: whether it was ended because the job took too long.
    """

    def __init__(self, *, is_too_long: bool) -> None:
        super().__init__("took too long" if is_too_long else "died")
        self.is_too_long = is_too_long

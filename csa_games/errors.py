"""The one error that users cause: input that is wrong, said in sentences."""


class InputError(ValueError):
    """Input that cannot be used. `faults` lists everything found wrong, one sentence each."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults

"""Exit statuses by which our own processes tell their supervisor how they ended."""

ENDED = 0  # in good order: idle, or asked to
TAKEN = 75  # another process does this work for the same state directory already
HOPELESS = 78  # the next try would fail in the same way: the log says what must be changed

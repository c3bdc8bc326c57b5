"""What every process that a test starts runs first: garbage is looked for less often, and not at the end.

The import of LLaMA-Factory makes a million objects. To look through them again and again takes a sixth of a process
that does little else, and to free them one by one at its end a quarter.
"""

import atexit
import gc

gc.set_threshold(20_000, 20, 50)
atexit.register(gc.freeze)

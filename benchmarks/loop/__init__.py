"""loopbench: simulated raters, real training, a judge that training never sees; `docs/loop.md` tells how to read it."""

import os

# Before the engine is loaded: threads that spin while they wait take the cores from whatever else runs, and from each
# other. The trainer is started in the same way.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

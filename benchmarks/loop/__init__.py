"""loopbench: simulated raters, real training, a judge that training never sees; `docs/loop.md` tells how to read it."""

import os

# Before the engine is loaded: its threads would spin while they wait, and where anything else has a core a batch of
# replies then takes over seven times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

"""loopbench: simulated raters, real training, a judge that training never sees; `docs/loop.md` tells how to read it."""

"""The engine that answers: renders the prompt, batches, streams, swaps, and keeps it safe. Never imports torch."""

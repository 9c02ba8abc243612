"""Errors of serving.

RatchetError
├── ArtifactInvalid                a folder that is not, or no longer, a whole artifact
├── EngineOverloaded               the queue is full
├── EngineStopped                  the scheduler is shutting down
├── EngineUnavailable              a remote engine that is down, slow, or serves other weights
├── InvalidPrompt    (ValueError)  the chat template refuses the conversation
├── ModelNotReady                  nothing is loaded yet
├── PromptTooLong                  even the last message does not fit into the window
├── StoreUnavailable               the store of the artifacts does not answer, or no copy can be kept here
└── SwapFailed                     a new version could not be loaded, or failed its canary
    └── SwapPostponed              for now: its engine or its store may come back
"""

from data.errors import RatchetError

# All that code which reads files and runs a model can raise, short of the end of the process.
FAILURES = (
    RatchetError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class ArtifactInvalid(RatchetError):
    """The artifact is incomplete or was changed after it was made; take another version."""


class EngineOverloaded(RatchetError):
    """Too many chat requests are waiting; try again in a few seconds."""


class EngineStopped(RatchetError):
    """The server is shutting down; send the request again when it is back."""


class EngineUnavailable(RatchetError):
    """The engine that writes the replies does not answer as it should; try again in a few seconds."""


class InvalidPrompt(RatchetError, ValueError):
    """The model's chat template refuses this order of messages; let user and assistant alternate."""


class ModelNotReady(RatchetError):
    """No model is loaded yet; try again in a few seconds."""


class PromptTooLong(RatchetError):
    """The last message is longer than the model's window; shorten it."""


class StoreUnavailable(RatchetError):
    """The store of the artifacts does not answer; see RATCHET_ARTIFACTS_URL and its credentials."""


class SwapFailed(RatchetError):
    """The new version could not take over; the old one goes on answering."""


class SwapPostponed(SwapFailed):
    """The new version cannot take over yet, and is tried again; the old one goes on answering."""

"""The blocks of a paged cache: lent to rows, and kept for a while for rows that begin alike.

A block that a row has filled gets a name, which stands for all tokens up to its end, because keys and values depend on
all of them. A row that begins with the same tokens shares the block instead of computing it again: the system message
of all conversations, and what was said before in one's own. See "Automatic Prefix Caching" in vLLM's design documents.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK_TOKENS = 32  # what one block of the cache holds: OpenVINO's own number on a processor
_BEGINNING = 0  # the name of no tokens at all

_Key = tuple[int, tuple[int, ...]]  # name of the block before, and the block's tokens


@dataclass(eq=False)
class Loan:
    """Blocks in a row's hands.

    Attributes:
        blocks: all that the row will ever need, so that nobody has to be turned out.
        shared_tokens: tokens at the row's beginning that the first blocks hold already.
    """

    blocks: list[int]
    shared_tokens: int
    _name: int  # of the last block that is filled and named
    _named: int  # blocks that are


class CacheBlocks:
    """Not safe for threads.

    Args:
        count: blocks of the cache.
        kept: blocks that may stay filled while no row has them; the longest unused are emptied first.
    """

    def __init__(self, count: int, kept: int = 0) -> None:
        self._kept = kept
        self._free = list(range(count))  # a heap: low numbers first, so memory grows with use
        self._idle: OrderedDict[int, None] = OrderedDict()  # filled, in nobody's hands; the longest unused first
        self._users: Counter[int] = Counter()
        self._blocks: dict[_Key, tuple[int, int]] = {}  # its name and the block itself
        self._keys: dict[int, _Key] = {}
        self._last_name = _BEGINNING  # a name is never given twice

    def lend(self, token_ids: Sequence[int], longest: int, sharable_tokens: int) -> Loan | None:
        """Blocks for a row that grows to `longest` tokens; None while there are too few.

        Args:
            sharable_tokens: how many of the first tokens need not be read again.
        """
        shared, name = self._find(token_ids, sharable_tokens)
        fresh = count_blocks(longest) - len(shared)
        if fresh > len(self._free) + len(self._idle) - sum(block in self._idle for block in shared):
            return None
        for block in shared:
            self._idle.pop(block, None)
        while len(self._free) < fresh:
            self._empty_oldest()
        blocks = [*shared, *(heapq.heappop(self._free) for _ in range(fresh))]
        self._users.update(blocks)
        return Loan(blocks, len(shared) * BLOCK_TOKENS, name, len(shared))

    def note_filled(self, loan: Loan, token_ids: Sequence[int], filled_tokens: int) -> None:
        """Let others share what the row has filled by now: its first `filled_tokens` tokens."""
        if not self._kept:
            return
        while (loan._named + 1) * BLOCK_TOKENS <= filled_tokens:
            key = (loan._name, _cut_block(token_ids, loan._named))
            if key not in self._blocks:  # else another row has filled one alike meanwhile
                self._last_name += 1
                block = loan.blocks[loan._named]
                self._blocks[key] = (self._last_name, block)
                self._keys[block] = key
            loan._name = self._blocks[key][0]
            loan._named += 1

    def take_back(self, loan: Loan) -> None:
        """The row has ended."""
        for block in reversed(loan.blocks):  # later ones are of no use without the earlier, so they go first
            self._users[block] -= 1
            if self._users[block]:
                continue
            del self._users[block]
            if block in self._keys:
                self._idle[block] = None
            else:
                heapq.heappush(self._free, block)
        while len(self._idle) > self._kept:
            self._empty_oldest()

    def _find(self, token_ids: Sequence[int], sharable_tokens: int) -> tuple[list[int], int]:
        """The blocks that hold the row's beginning, and the last one's name."""
        found, name = [], _BEGINNING
        for place in range(sharable_tokens // BLOCK_TOKENS):
            known = self._blocks.get((name, _cut_block(token_ids, place)))
            if known is None:
                break
            name, block = known
            found.append(block)
        return found, name

    def _empty_oldest(self) -> None:
        block, _ = self._idle.popitem(last=False)
        del self._blocks[self._keys.pop(block)]
        heapq.heappush(self._free, block)


def count_blocks(tokens: int) -> int:
    """How many blocks hold so many tokens."""
    return -(-tokens // BLOCK_TOKENS)


def _cut_block(token_ids: Sequence[int], place: int) -> tuple[int, ...]:
    return tuple(token_ids[place * BLOCK_TOKENS : (place + 1) * BLOCK_TOKENS])

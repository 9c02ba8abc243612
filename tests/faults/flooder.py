"""A client that asks as fast as it can until its standard input ends: `… HOST PORT CONNECTIONS`.

Its key comes by the first line of that input; at the end it prints how many answers of each status it got.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections import Counter

BODY = json.dumps({"messages": [{"role": "user", "content": "I cannot sleep. " * 4}], "max_tokens": 8})


def ask_until(stop: threading.Event, host: str, port: int, key: str, statuses: Counter[int]) -> None:
    """Over one connection, by turns with and without a body."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection(host, port, timeout=60)
    while not stop.is_set():
        for method, path, body in (("POST", "/v1/chat/completions", BODY), ("GET", "/v1/models", None)):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
    connection.close()


def main(host: str, port: int, connections: int) -> None:
    """Flood."""
    key, stop, counts = sys.stdin.readline().strip(), threading.Event(), [Counter[int]() for _ in range(connections)]
    threads = [threading.Thread(target=ask_until, args=(stop, host, port, key, count)) for count in counts]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    print(json.dumps(sum(counts, Counter())))  # noqa: T201 - its answer


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""Counts and times of requests, in the text form of Prometheus."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from threading import Lock
from typing import Final

_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts requests by route and status, and their times by route."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._started = time.time()
        self._counts: dict[tuple[str, int], int] = defaultdict(int)
        self._times: dict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._sums: dict[str, float] = defaultdict(float)

    def count(self, route: str, status: int, seconds: float) -> None:
        """Note an answer."""
        place = next((k for k, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))
        with self._lock:
            self._counts[route, status] += 1
            self._times[route][place] += 1
            self._sums[route] += seconds

    def text(self) -> str:
        """All figures, in the text format 0.0.4 of Prometheus."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        lines = [
            "# TYPE hpckit_serve_start_time_seconds gauge",
            f"hpckit_serve_start_time_seconds {self._started:.3f}",
            "# TYPE hpckit_serve_peak_memory_bytes gauge",
            f"hpckit_serve_peak_memory_bytes {peak}",
            "# TYPE hpckit_serve_requests_total counter",
        ]
        with self._lock:
            lines += [
                f'hpckit_serve_requests_total{{route="{_label(route)}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._counts.items())
            ]
            lines.append("# TYPE hpckit_serve_request_seconds histogram")
            for route, counts in sorted(self._times.items()):
                name, total = f'hpckit_serve_request_seconds_bucket{{route="{_label(route)}"', 0
                for bound, count in zip((*_BOUNDS, "+Inf"), counts, strict=True):
                    total += count
                    lines.append(f'{name},le="{bound}"}} {total}')
                lines.append(f'hpckit_serve_request_seconds_sum{{route="{_label(route)}"}} {self._sums[route]:.6f}')
                lines.append(f'hpckit_serve_request_seconds_count{{route="{_label(route)}"}} {total}')
        return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

"""What code of a user may take, for one process slot."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one sandbox. What passes one of them is ended, and its unit fails with the limit named."""

    memory_mib: int = 2048
    """Of all processes together, beyond what Python and its packages take at the start."""
    processes: int = 64
    """Processes and threads that user code may add."""
    disk_mib: int = 2048
    """Of its temporary folder, and of each file in it."""
    files: int = 1024
    """Files that a process has open, and a tenth of those that may lie in the temporary folder."""
    seconds: float = 600
    """For one block."""
    output_mib: int = 1024
    """Of the result of one block."""
    log_kib: int = 256
    """Of what is printed for one block; the rest is left out of the log."""
    start_seconds: float = 180
    """Until the image has started, from a slow file system."""

    @property
    def memory_bytes(self) -> int:
        """Memory in bytes."""
        return self.memory_mib * _MIB

    @property
    def disk_bytes(self) -> int:
        """Disk space in bytes."""
        return self.disk_mib * _MIB

    @property
    def output_bytes(self) -> int:
        """Largest result of a block, in bytes."""
        return self.output_mib * _MIB

    @property
    def entries(self) -> int:
        """Files and folders that may lie in the temporary folder."""
        return self.files * 10

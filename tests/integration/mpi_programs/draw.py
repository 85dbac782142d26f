"""A rank that draws positions and writes down which: `draw.py FOLDER COUNT [VICTIM]`.

Rank 0 is slow, so that it is inside a unit while others draw. The victim kills itself in its third unit.
"""

import os
import signal
import sys
import time
from pathlib import Path

from hpckit.jobs.mpi import join


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    victim = int(sys.argv[3]) if len(sys.argv) > 3 else -1
    ranks = join()
    with (folder / f"rank-{ranks.rank}").open("a", buffering=1) as file:
        for number, position in enumerate(ranks.draw(count)):
            if ranks.rank == victim and number == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.5 if ranks.rank == 0 else 0.002)
            file.write(f"{position}\n")
    alive = ranks.everyone(4)
    (folder / f"end-{ranks.rank}").write_text(str(alive))
    if not alive:
        os._exit(75)
    total = ranks.gather(1)
    if total is not None:
        (folder / "total").write_text(str(sum(total)))
    ranks.leave()


main()

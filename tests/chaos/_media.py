"""The media process as it is, which also says on SIGUSR1 what it holds: `_media FILE --dir DIR`.

From outside its sockets and its memory can be counted; its tasks cannot, nor what of its memory is in use: Python keeps
what a busy moment took, for the next.
"""

import asyncio
import gc
import signal
import sys
from pathlib import Path

from media import __main__ as media

FILE = Path(sys.argv.pop(1))
serve = media._serve


async def _counted(*arguments: object) -> None:
    def tell() -> None:
        ahead = FILE.with_suffix(".next")
        gc.collect()
        ahead.write_text(f"{len(asyncio.all_tasks())} {sys.getallocatedblocks()}")
        ahead.replace(FILE)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    await serve(*arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    media._serve = _counted  # type: ignore[assignment]
    media.main()

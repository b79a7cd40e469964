"""The media process as it is, which also says on SIGUSR1 how many tasks it has: `_media FILE --dir DIR`.

From outside its sockets and its memory can be counted, its tasks cannot.
"""

import asyncio
import signal
import sys
from pathlib import Path

from media import __main__ as media

FILE = Path(sys.argv.pop(1))
serve = media._serve


async def _counted(*arguments: object) -> None:
    def tell() -> None:
        ahead = FILE.with_suffix(".next")
        ahead.write_text(str(len(asyncio.all_tasks())))
        ahead.replace(FILE)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    await serve(*arguments)  # type: ignore[arg-type]


if __name__ == "__main__":
    media._serve = _counted  # type: ignore[assignment]
    media.main()

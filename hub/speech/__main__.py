"""Write down what is said: `python -m hub.speech ENGINE LANGUAGE [MODEL]`, samples in, words out as JSON.

In are 16-bit samples of this machine's byte order, 8,000 a second; what cannot be done is told by a reason.
"""

import contextlib
import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from hub.audio import resample
from hub.g711 import RATE
from hub.speech import Answer, TranscriptionError
from hub.speech import engine as engines

NICE = 10
"Calls that go on come first."


def main() -> int:
    """Return 0 with words, 1 with a reason."""
    os.nice(NICE)
    name, language, *model = sys.argv[1:]
    pcm = np.frombuffer(sys.stdin.buffer.read(), np.int16)
    try:
        # What a library prints must not come between the words.
        with contextlib.redirect_stdout(sys.stderr):
            words = engines.ENGINES[name](
                resample(pcm, RATE, engines.RATE), language, Path(model[0]) if model else None
            )
        answer = Answer(words)
    except TranscriptionError as error:
        answer = Answer(reason=error.reason)
    except Exception:  # the one place: an engine's own faults quote what they read
        answer = Answer(reason="failed")
    sys.stdout.buffer.write(msgspec.json.encode(answer))
    return 1 if answer.reason else 0


if __name__ == "__main__":
    sys.exit(main())

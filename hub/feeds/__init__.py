"""The feeds process: everything that outside systems tell us goes through here into inbox.db.

`python -m hub.feeds --dir DIR` runs what the policy names: a connection that can listen is listened for, one that can
be asked for changes is asked. What comes is sealed and committed first, then acknowledged; then the connection's
FeedFlow is woken, which reads it. Vault and Temporal may be down meanwhile: sealing asks nobody, and the rows wait.

There is one way out of the inbox for both kinds: `read_row` says what a row means, whether it holds a message as it
was delivered or a fact that was asked for.
"""

from hub.feeds.fact import NotAFactError, arrival_of, read_row
from hub.feeds.writer import NotStoredError, Writer

__all__ = ["NotAFactError", "NotStoredError", "Writer", "arrival_of", "read_row"]

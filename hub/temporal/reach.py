"""The way to Temporal for a process that lives longer than the server, or was there before it."""

from collections.abc import Mapping

from temporalio.client import Client

from hub import embedded
from hub.settings import Paths
from hub.temporal.client import connect, outside
from hub.vault.client import ServiceKeys


class Reach:
    """A client that is made when it is first needed, and anew when the embedded server moved to another port."""

    def __init__(self, paths: Paths, keys: ServiceKeys, env: Mapping[str, str]) -> None:
        self._paths = paths
        self._keys = keys
        self._env = env
        self._client: Client | None = None
        self._where: str | None = None

    async def client(self) -> Client:
        """Return the client; it connects at its first request.

        Raises:
            TemporalUnavailableError: the embedded server was never started.
        """
        where = None if outside(self._env) else embedded.address(self._paths)
        if self._client is None or where != self._where:
            self._client = await connect(self._paths, self._keys, self._env, lazy=True)
            self._where = where
        return self._client

"""The media gateway on one core: setting calls up, the whole product, relaying; floors and peers in the same run."""

from tests.bench.callsetup import set_up
from tests.bench.figure import Figure
from tests.bench.plans import sustained
from tests.bench.relaying import relayed


def figures() -> list[Figure]:
    """Measure the area."""
    return [*set_up(), *sustained(), *relayed()]

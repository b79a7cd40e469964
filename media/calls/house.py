"""What every call of this process works with."""

from dataclasses import dataclass

from media.calls.floor import Floor
from media.calls.notice import Notices
from media.calls.plan import Planner
from media.calls.switchboard import Switchboard
from media.calls.taping import Taping
from media.ledger import Ledger
from media.line import Line
from media.prompts import Prompts
from media.relay import Relay


@dataclass(frozen=True, slots=True)
class House:
    """The parts that calls share, each made once."""

    line: Line
    ledger: Ledger
    relay: Relay
    floor: Floor
    planner: Planner
    notices: Notices
    prompts: Prompts
    taping: Taping
    board: Switchboard

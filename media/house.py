"""What every call of this process works with."""

from dataclasses import dataclass

from media.floor import Floor
from media.ledger import Ledger
from media.line import Line
from media.notice import Notices
from media.plan import Planner
from media.prompts import Prompts
from media.relay import Relay
from media.switchboard import Switchboard
from media.taping import Taping


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

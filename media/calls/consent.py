"""Asks a caller's consent to be recorded: nothing is kept before the announcement was heard to its last sample."""

from hub.rules.recording import Consent
from media.calls.keys import forget_keys, next_key
from media.prompts import Prompts
from media.relay import Leg

CHOICE_S = 5.0
"How long a caller may think about it, once asked; who says nothing has not agreed."


async def consented(leg: Leg, prompts: Prompts, needed: Consent, language: str) -> bool:
    """Tell the caller that the call may be recorded, or ask; return whether it may be."""
    if needed is Consent.NOTICE:
        return await leg.play(prompts.stock("this-call-may-be-recorded", language))
    forget_keys(leg)  # nobody agrees before being asked
    await leg.play(prompts.stock("press-one-to-be-recorded", language), barge_in=True)
    return await next_key(leg, CHOICE_S) == "1"

"""AppointmentFlow: the reminders of one visit, and the patient's answer to them."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from hub.temporal.flow import VOICE_QUEUE, Flow, Says, carrier_queue
    from workflows.activities.appointment import Answer, Appointments, Next
    from workflows.activities.visit import StepDue
    from workflows.activities.voice import Voices
    from workflows.patience import ALWAYS, CALLING, FEW, OUTSIDE, ROW, SILENCE
    from workflows.writeback import write_back

SECOND_THOUGHT = timedelta(minutes=2)
"After a step that was held or that failed, the rows are looked at again no sooner."

AFTER_A_REFUSAL = timedelta(hours=1)

WAIT_AT_CARRIER = timedelta(hours=2)
"A text that waited so long for its turn is thought over again."


@workflow.defn(name=Flow.APPOINTMENT)
class AppointmentFlow:
    """Runs from booking to the visit; id `appointment-<row id>`. History holds ids, times and codes.

    It decides nothing: the rows and the policy say what is next, and the activity that sends looks at them again.
    """

    def __init__(self) -> None:
        self._changed = False
        self._answers: list[tuple[str, datetime | None]] = []
        "What was said, and of which start of the visit where that is known."

        self._writing: set[asyncio.Task[None]] = set()

    @workflow.signal(name=Says.CHANGED)
    def changed(self) -> None:
        """The appointment, the patient's consent or the policy changed."""
        self._changed = True

    @workflow.signal(name=Says.ANSWERED)
    def answered(self, kind: str, starts_at: datetime | None = None) -> None:
        """The patient answered `confirm` or `reschedule`, of that start of the visit where it is known."""
        self._hear(kind, starts_at)

    def _hear(self, kind: str, starts_at: datetime | None) -> None:
        if (kind, starts_at) not in self._answers:
            self._answers.append((kind, starts_at))

    @workflow.run
    async def run(self, appointment_id: str) -> str:
        """Return how it ended: `over` (the visit has come), or `gone` (cancelled, or no such row)."""
        pause = timedelta(0)
        while True:
            while self._answers:
                await self._take_answer(Answer(appointment_id, *self._answers.pop(0)))
            if workflow.info().is_continue_as_new_suggested() and not self._writing:
                workflow.continue_as_new(appointment_id)
            self._changed = False
            step = await self._next(appointment_id)
            if step.end is not None:
                if await self._silent_to_the_end():
                    return step.end
            elif await self._woken_within(max(timedelta(seconds=step.wait_s), pause)):
                pause = timedelta(0)
            else:
                pause = await self._take(appointment_id, step)

    async def _next(self, appointment_id: str) -> Next:
        try:
            return await workflow.execute_activity_method(
                Appointments.next_step, appointment_id, start_to_close_timeout=ROW, retry_policy=ALWAYS
            )
        except ActivityError:  # no use now: a right that this process lacks
            return Next(wait_s=AFTER_A_REFUSAL.total_seconds())

    def _spoken(self) -> bool:
        return self._changed or bool(self._answers)

    async def _silent_to_the_end(self) -> bool:
        """Return whether nothing more was said until all write-backs were made."""
        await workflow.wait_condition(lambda: self._spoken() or not self._writing)
        return not self._spoken()

    async def _woken_within(self, wait: timedelta) -> bool:
        """Return whether something was said before the time was up."""
        try:
            await workflow.wait_condition(self._spoken, timeout=wait)
        except TimeoutError:
            return False
        return True

    async def _take(self, appointment_id: str, step: Next) -> timedelta:
        """Take a step whose time has come; return how long to leave the rows alone."""
        if step.name is None or (step.carrier is None and not step.voice):
            return timedelta(0)
        due = StepDue(appointment_id, step.name)
        if step.voice or step.carrier is None:
            return await self._call(due)
        try:
            outcome = await workflow.execute_activity_method(
                Appointments.remind,
                due,
                task_queue=carrier_queue(step.carrier),
                start_to_close_timeout=OUTSIDE,
                heartbeat_timeout=SILENCE,
                schedule_to_start_timeout=WAIT_AT_CARRIER,
                retry_policy=FEW,
            )
        except ActivityError:
            return SECOND_THOUGHT
        return timedelta(0) if outcome == "sent" else SECOND_THOUGHT

    async def _call(self, due: StepDue) -> timedelta:
        """Have the patient called; what they chose by a key is taken like the answer to a text."""
        try:
            called = await workflow.execute_activity_method(
                Voices.call,
                due,
                task_queue=VOICE_QUEUE,
                start_to_close_timeout=CALLING,
                heartbeat_timeout=SILENCE,
                schedule_to_start_timeout=WAIT_AT_CARRIER,
                retry_policy=FEW,
            )
        except ActivityError:
            return SECOND_THOUGHT
        if called.answer is not None:
            self._hear(called.answer, called.starts_at)
        return timedelta(0) if called.outcome == "sent" else SECOND_THOUGHT

    async def _take_answer(self, answer: Answer) -> None:
        writeback = await workflow.execute_activity_method(
            Appointments.take_answer, answer, start_to_close_timeout=ROW, retry_policy=ALWAYS
        )
        if writeback is not None:  # aside: an EHR may be down for days, and the visit may move meanwhile
            task = asyncio.create_task(write_back(writeback))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

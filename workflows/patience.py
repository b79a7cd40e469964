"""How long the flows wait for an activity, and how they try again."""

from datetime import timedelta

from temporalio.common import RetryPolicy

ROW = timedelta(seconds=10)
"For an activity that reads and writes rows; what a killed worker had begun is begun anew after it."

OUTSIDE = timedelta(seconds=90)
"For an activity that asks an outside system once."

CALLING = timedelta(minutes=45)
"For an activity that waits for a line, and then for the end of a call."

SILENCE = timedelta(seconds=10)
"Without a sign of life, whoever asks an outside system is taken to be dead."

ALWAYS = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
)
"What must happen: again and again, until a retry is of no use."

SOON = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=5),
)
"What a feed waits for: the vault, or the disk."

ONCE = RetryPolicy(maximum_attempts=1)
"What is of no use later."

FEW = RetryPolicy(
    initial_interval=timedelta(seconds=5),
    backoff_coefficient=3.0,
    maximum_interval=timedelta(minutes=5),
    maximum_attempts=4,
)
"What the flow thinks over again after a few tries."

DAYS = RetryPolicy(
    initial_interval=timedelta(seconds=2),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=15),
)
"An outside system that is down for a weekend; with a limit on the whole."

THREE_DAYS = timedelta(days=3)

LOOKS = 200
"After so many looks a flow that never ends goes on in a new history: whoever takes it over reads all of it again."

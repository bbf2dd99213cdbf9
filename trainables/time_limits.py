"""The time limits of a sweep on Ray, in seconds, with what each guards against."""

GRACE = 30.0
"""Ctrl-C and SIGTERM: an epoch under way that takes longer is given up. Clouds announce the end of a machine so long
before it."""
RESULT_SHOWN = 75.0
"""A result that another machine wrote: a client of a network file system remembers up to a minute that a file was not
there. A run whose result is not seen by then counts as failed."""
RESULT_LOOK = 0.5
"""Between two looks for such a result."""
RAY_LOOK = 0.5
"""Between two looks at Ray's own processes: their death is told at most so late."""
RAY_LEAVE = 9.0
"""After the death of Ray: calls into it may never return, so this process ends itself."""
HEAD_ANSWER = 5.0
"""A joined cluster's head that takes no connection. Ray itself would try for a minute."""
MACHINE_LOOK = 0.5
"""Between two looks for Ctrl-C while the machines of a cluster check what they see."""
NODES_LOOK = 1.0
"""Between two looks at which machines a cluster has: with a hundred of them each takes milliseconds."""
FOLDERS_LOCKED = 60.0
"""Another driver that removes old folders of Ray's in the temporary folder."""
TRACKER = 60.0
"""At the end of a sweep: a tracker that has not taken all numbers by then is left behind."""
PARENT_LOOK = 0.5
"""Between two looks of a job's process for Ray's raylet: a job ends at most so long after it."""
COLLECTIVE = 24 * 3600
"""A process that waits for another of its job. One that dies is noticed at once, and a teacher of ImageNet may compute
for an hour before the first batch."""

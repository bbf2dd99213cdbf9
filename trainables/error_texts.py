"""Errors that only their words tell apart, because no type does. Each has a test with a real message."""

from __future__ import annotations

import re

DEVICE_MEMORY_FULL = re.compile(r"out of memory|ALLOC_FAILED")
"""RuntimeErrors of CUDA, cuBLAS and NCCL; torch's own allocator has torch.OutOfMemoryError."""
PEER_LOST = re.compile(r"gloo|nccl|peer|Connection")
"""RuntimeErrors of a process whose partner in a collective operation has ended."""
RAISED = re.compile(r"^\s*([\w.]+(?:Error|Exception): .*)", re.MULTILINE)
"""Errors of Python in Ray's account of why an actor died: it may not have come to the job at all."""
TABLE_MISSING = re.compile(r"no such (table|column)")
"""sqlite3.OperationalErrors whose code is only SQLITE_ERROR: the file is a database, but not all of a ledger."""
LATEX_UNFINISHED = re.compile("Rerun")
"""pdflatex's log where references have changed."""

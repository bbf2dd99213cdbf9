"""Messages of real errors, by which the patterns tell them apart."""

from __future__ import annotations

import sqlite3
from re import Pattern

import pytest

from trainables.error_texts import DEVICE_MEMORY_FULL, LATEX_UNFINISHED, PEER_LOST, RAISED, TABLE_MISSING


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (DEVICE_MEMORY_FULL, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        (DEVICE_MEMORY_FULL, "CUDA error: out of memory"),
        (
            PEER_LOST,
            "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:50482",
        ),
        (PEER_LOST, "NCCL communicator was aborted on rank 1. Original reason for failure was: nccl error"),
        (RAISED, "The actor died because of an error\n  File x.py\nModuleNotFoundError: No module named 'fake_job'\n"),
        (LATEX_UNFINISHED, "LaTeX Warning: Label(s) may have changed. Rerun to get cross-references right."),
    ],
)
def test_what_is_meant(pattern: Pattern[str], message: str) -> None:
    assert pattern.search(message)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (DEVICE_MEMORY_FULL, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        (DEVICE_MEMORY_FULL, "CUDA error: an illegal memory access was encountered"),
        (
            RAISED,
            "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker exits with a connection error",
        ),
        (PEER_LOST, "mat1 and mat2 shapes cannot be multiplied (4x3 and 5x6)"),
    ],
)
def test_what_is_not(pattern: Pattern[str], message: str) -> None:
    assert not pattern.search(message)


@pytest.mark.parametrize("query", ["SELECT * FROM runs", "SELECT absent FROM here"])
def test_a_table_or_column_that_a_database_lacks(query: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE here (something)")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute(query)
    database.close()
    assert TABLE_MISSING.search(str(caught.value))

"""What a sweep may use and what each job takes; impossible requests are refused at once. Free of Ray."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from trainables import datasets
from trainables.commands import count
from trainables.cores import cores_here
from trainables.errors import UserError
from trainables.spec import RunSpec

ALL_GPUS = sys.maxsize
"""Of a cluster, however many it has at the moment."""


@dataclass(frozen=True)
class Resources:
    """What a sweep may use, and what each of its jobs takes. address: of a running Ray cluster, HOST:PORT or auto.

    gpus_per_job: a share of a GPU, or the whole GPUs that a job takes whose data set is read from files (ImageNet);
    every other job takes one, and so does one whose methods compare the samples of a whole batch. Without GPUs such a
    job has as many processes.
    """

    gpus: int
    gpus_per_job: float = 1
    cpus_per_job: int = 1
    address: str | None = None

    def devices(self, specs: Sequence[RunSpec]) -> int:
        """How many devices train the runs of a job together."""
        from trainables.methods import whole_batches

        several = datasets.find(specs[0].dataset).streamed and not any(map(whole_batches, specs))
        return max(1, int(self.gpus_per_job)) if several else 1

    def speed(self, specs: Sequence[RunSpec]) -> float:
        """Speed relative to one whole device: N for N devices, 1/k where k jobs share one; timing jobs never share."""
        return self.devices(specs) / (1 if specs[0].timing or not self.gpus else self._sharing)

    @property
    def _sharing(self) -> int:
        """Jobs on one GPU."""
        return max(1, int(1 / self.gpus_per_job + 1e-9))

    def per_job(self, devices: int) -> dict[str, float]:
        """What Ray reserves for a job. One of several devices only starts those, which reserve theirs themselves."""
        if devices > 1:
            return {"memory": 1}
        return {"CPU": self.cpus_per_job, "GPU": min(self.gpus_per_job, 1) if self.gpus else 0}

    @property
    def is_elastic(self) -> bool:
        """Whether it uses all that a cluster has, which may change."""
        return self.address is not None and self.gpus in {0, ALL_GPUS}

    def devices_at_once(self, cpus: int, gpus: int = ALL_GPUS) -> int:
        """How many devices (or shares of one) there are to train on; a job takes one, or `devices` of them.

        gpus: that there are, where they may be fewer than were asked for."""
        if self.gpus:
            return min(self.gpus, gpus) * self._sharing
        return cpus // self.cpus_per_job

    def cpus(self, devices: int) -> int:
        """The processors that Ray needs to know of, so that `devices` can be busy."""
        return devices * self.cpus_per_job


def gpus_here() -> list[str]:
    """The names of the GPUs that torch can use."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def check_resources(resources: Resources) -> None:
    """Refuse at once what can never be met, instead of waiting for it."""
    check_sizes(resources)
    if resources.address is None:
        found = gpus_here() if resources.gpus else []
        check_against(resources, len(found), cores_here(), f"this machine has {_list_names(found)}")


def check_sizes(asked: Resources) -> None:
    if asked.gpus < 0:
        raise UserError(f"--gpus {asked.gpus} must not be negative: 0 runs on the CPU")
    if asked.cpus_per_job < 1:
        raise UserError(f"a job needs 1 CPU or more, not {asked.cpus_per_job}")
    share = asked.gpus_per_job
    if share <= 0 or (share > 1 and share != int(share)):
        raise UserError(f"--gpus-per-job {share:g} must be a share in (0, 1] or a whole number of GPUs")


def check_against(asked: Resources, gpus: int, cpus: int, found: str) -> None:
    wanted = "all" if asked.gpus == ALL_GPUS else asked.gpus
    if asked.gpus and not gpus:
        raise UserError(f"--gpus {wanted}: {found}; --gpus 0 runs on the CPU")
    if gpus < asked.gpus != ALL_GPUS:
        raise UserError(f"--gpus {wanted}: {found}; ask for {gpus}, or run on the CPU with --gpus 0")
    check_fit(asked, cpus, gpus)
    needed = asked.cpus_per_job * (max(1, int(asked.gpus_per_job)) if asked.address else 1)
    if needed > cpus:
        raise UserError(f"a job asks for {needed} CPUs, but there are {cpus}: ask for fewer")


def check_fit(asked: Resources, cpus: int, gpus: int = ALL_GPUS) -> None:
    """Refuse jobs that take more devices than there are."""
    at_once = asked.devices_at_once(cpus, gpus)
    if asked.gpus_per_job > max(1, at_once):
        what = "GPUs" if asked.gpus else "processes"
        raise UserError(f"--gpus-per-job {asked.gpus_per_job:g}: the sweep has {at_once} {what}; ask for fewer")


def _list_names(gpus: list[str]) -> str:
    if not gpus:
        return "no GPU that PyTorch can use"
    return f"{count(len(gpus), 'GPU')} ({', '.join(dict.fromkeys(gpus))})"

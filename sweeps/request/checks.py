"""What is checked before anything is trained: the results folder, devices, data sets, the fit of given teachers."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sweeps.planning.images import count_images
from sweeps.planning.resources import ALL_GPUS, Resources, check_fit, check_resources, check_sizes, gpus_here
from sweeps.request.arguments import Where
from sweeps.request.request import Request, list_datasets
from trainables import datasets
from trainables.cores import cores_here
from trainables.errors import UserError
from trainables.own_code import beside_packages
from trainables.run_names import name_of
from trainables.spec import RunSpec


def check_folder(results: Path) -> Path:
    """Refuse a results folder that cannot be one. Returns what of its path is there."""
    there = next(folder for folder in (results, *results.parents) if folder.exists())
    if not there.is_dir():
        what = "a file" if there.is_file() else "a pipe, a socket or a device"
        raise UserError(f"cannot write to the results folder {results}: {there} is {what}; choose --results")
    return there


def check_writable(results: Path) -> None:
    """Refuse a results folder that cannot be made or written, without making it yet."""
    there = check_folder(results)
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to the results folder {results}: {there} is not writable; choose --results")
    for folder in (results / name for name in ("runs", "jobs", "tables")):
        if os.path.lexists(folder) and not folder.is_dir():
            raise UserError(f"{folder} is no folder, and a sweep writes below it: move it away")


def check_all(where: Where, request: Request, runs: Collection[RunSpec]) -> Resources:
    """What takes seconds to check: devices, data, the fit of given teachers. Returns what the sweep may use."""
    resources = find_resources(where)
    if where.address and (lacking := beside_packages(runs)):
        raise UserError(
            f"--address: {', '.join(lacking)} would not be sent to the machines of the cluster: move it into "
            "trainables/methods, or install it on all of them"
        )
    check_images(where.data_dir, runs)
    check_models(where.data_dir, request, runs)
    for name in dict.fromkeys(spec.dataset for spec in runs if spec.dataset not in dict(request.images)):
        try:
            datasets.load(name, where.data_dir, download=where.download and datasets.find(name).downloadable)
        except UserError as error:
            others = [table.key for table in request.tables if name not in list_datasets([table], request.settings)]
            hint = f" (without it: {' '.join(others)})" if others else ""
            raise UserError(f"{error}{hint}") from error
    return resources


def check_images(data_dir: Path, runs: Collection[RunSpec]) -> None:
    """Refuse training sets that cannot be made, or that are too small for what a run sets apart."""
    for spec in runs:
        images, ends = count_images(spec, data_dir).train_size, spec.end
        if ends is not None and int(images * ends) < 1:
            few = f"{100 * ends:.3g} % of {images} training images is less than one"
            raise UserError(f"{name_of(spec)}: {few}: use more")


def check_models(data_dir: Path, request: Request, runs: Collection[RunSpec]) -> None:
    """Refuse numbers that a method does not take, what its flags say that it cannot do, crops that the images cannot
    have, networks that the images do not fit, and given teachers that do not fit."""
    from sweeps.request import teacher_weights
    from trainables.data.file_source import AUGMENTATIONS
    from trainables.data.stream import PADDING, WHOLE
    from trainables.methods import check_method, make
    from trainables.models import library

    for spec in runs:
        check_method(make(spec.method, spec.params), spec, WHOLE)
        crops = AUGMENTATIONS if datasets.find(spec.dataset).streamed else tuple(PADDING)
        if spec.augmentation not in crops:
            raise UserError(f"{spec.dataset} has no augmentation {spec.augmentation!r}: use one of {', '.join(crops)}")
    counts = {spec.dataset: count_images(spec, data_dir) for spec in runs}
    asked = {(name, spec.dataset) for spec in runs for name in (spec.student, spec.teacher, spec.peer) if name}
    for name, dataset in sorted(asked):
        library.check(name, counts[dataset].num_classes, counts[dataset].side)
    teacher_weights.check(request.given, counts)


def find_resources(where: Where) -> Resources:
    """What the sweep may use: all GPUs of this machine unless told otherwise; never the CPU by accident."""
    gpus = where.gpus
    if gpus is None and where.address is not None:
        raise UserError("--address: say how many of the cluster's GPUs to use with --gpus N (or all; 0: its CPUs)")
    if gpus is None or (gpus == ALL_GPUS and where.address is None):
        gpus = len(gpus_here())
        if not gpus:
            raise UserError("found no GPU that PyTorch can use: --gpus 0 trains on the CPU (--plan says how long)")
    resources = Resources(gpus, where.gpus_per_job, where.cpus_per_job, where.address)
    check_resources(resources)
    return resources


def planned_resources(where: Where) -> Resources:
    """What a sweep would use, here or on a machine that has as many GPUs as were asked for."""
    here = gpus_here()
    gpus = len(here) if where.gpus is None else where.gpus
    if gpus == ALL_GPUS:
        gpus = max(1, len(here))
    resources = Resources(gpus, where.gpus_per_job, where.cpus_per_job, where.address)
    if gpus <= len(here):
        check_resources(resources)
    else:
        check_sizes(resources)
    check_fit(resources, max(1, cores_here()))
    return resources

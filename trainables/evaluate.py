"""Top-1, top-5 and loss of a network's weights on the test images of a data set.

python trainables/evaluate.py ARCH WEIGHTS --dataset cifar100 --data-dir DIR [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from trainables.environment import check_environment

    check_environment(__file__)

from trainables import datasets
from trainables.commands import Parser, command_name, parse_path, run_command
from trainables.errors import UserError


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog=command_name("evaluate"),
        description="Measure the weights of a network on the test images of a data set.",
        epilog=f"Example: {command_name('evaluate')} wrn_16_2 wrn_16_2.pth --dataset cifar100 --data-dir data",
    )
    parser.add_argument("arch", metavar="ARCH", help="name of the network, for example wrn_16_2")
    parser.add_argument("weights", metavar="WEIGHTS", type=parse_path, help="file of weights, as torch.save wrote it")
    parser.add_argument(
        "--dataset", default="cifar100", type=_dataset, metavar="NAME", help=", ".join(datasets.names())
    )
    parser.add_argument("--data-dir", type=parse_path, default=Path("data"), metavar="DIR", help="default: data")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time; does not change the scores")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser.parse_args(argv)


def _dataset(name: str) -> str:
    datasets.find(name)
    return name


def evaluate(options: argparse.Namespace) -> dict[str, float | int | str]:
    """The scores of a file of weights, with what they were measured on."""
    if options.batch_size is not None and options.batch_size < 1:
        raise UserError(f"--batch-size {options.batch_size} must be at least 1")
    import torch

    from trainables.models import build
    from trainables.models.checkpoint import load_weights
    from trainables.training.evaluation import evaluate_models, training_kernels

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is visible: use --device cpu")
    counts = datasets.count_images(options.dataset, options.data_dir)
    model = build(options.arch, counts.num_classes, counts.side)
    digest = load_weights(model, options.weights, options.arch)
    normalisation = datasets.find(options.dataset).recipe.normalisation
    dataset = datasets.load(options.dataset, options.data_dir).normalised(normalisation).to(device)
    model = model.to(device).to(memory_format=torch.channels_last)
    with training_kernels():
        (scores,) = evaluate_models([model], dataset, "fp32", batch_size=options.batch_size)
    if not math.isfinite(scores.loss):
        raise UserError(
            f"{options.weights} gives NaN or infinite logits: use weights of a training that did not diverge"
        )
    return {
        "top1": round(scores.top1, 4),
        "top5": round(scores.top5, 4),
        "loss": round(scores.loss, 6),
        "images": dataset.test_size,
        "arch": options.arch,
        "dataset": options.dataset,
        "source": dataset.source,
        "weights": str(options.weights),
        "sha256": digest,
        "device": device,
    }


def main(argv: Sequence[str]) -> int:
    options = arguments(argv)
    scores = evaluate(options)
    if options.json:
        print(json.dumps(scores))
    else:
        print(f"{scores['arch']} on the {scores['images']} test images of {scores['source']}")
        print(f"top-1 {scores['top1']:.2f} %   top-5 {scores['top5']:.2f} %   loss {scores['loss']:.4f}")
        print(f"weights {scores['weights']}, sha256 {scores['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))

"""CIFAR-10 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009): 60,000 images, 10 classes.

Not in the paper: it is trained by CIFAR-100's recipe.
"""

from __future__ import annotations

from functools import partial

from trainables.data.cifar import find, read
from trainables.data.cifar_files import SIDE, CifarFiles
from trainables.data.counts import ImageCounts
from trainables.data.definition import DatasetDefinition
from trainables.recipes import CIFAR10

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Sums: torchvision 0.29 (datasets.CIFAR10). Mean and deviation: of all pixels of the training images, as in the code of
# most papers on CIFAR-10.
FILES = CifarFiles(
    name="cifar10",
    title="CIFAR-10",
    classes=CLASSES,
    per_class={"train": 5000, "test": 1000},
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    parts={
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    labels="labels",
    columns=("label",),
)
DATASET = DatasetDefinition(
    title=FILES.title,
    recipe=CIFAR10,
    read=partial(read, FILES),
    obtain="--download fetches it",
    published=ImageCounts(10, SIDE, (5000,) * 10, 10_000),
    find=partial(find, FILES),
    downloadable=True,
)

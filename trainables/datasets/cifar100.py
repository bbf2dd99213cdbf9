"""CIFAR-100 (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009): 60,000 images."""

from __future__ import annotations

from functools import partial

from trainables.data.cifar import find, read
from trainables.data.cifar_files import SIDE, CifarFiles
from trainables.data.counts import ImageCounts
from trainables.data.definition import DatasetDefinition
from trainables.recipes import CIFAR100

# fmt: off
CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
    "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
    "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
    "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
    "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
    "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
    "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
    "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)
# fmt: on

FILES = CifarFiles(
    name="cifar100",
    title="CIFAR-100",
    classes=CLASSES,
    per_class={"train": 500, "test": 100},
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive="cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    parts={
        "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
        "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    labels="fine_labels",
    columns=("fine_label", "label"),
)
DATASET = DatasetDefinition(
    title=FILES.title,
    recipe=CIFAR100,
    read=partial(read, FILES),
    obtain="--download fetches it",
    published=ImageCounts(100, SIDE, (500,) * 100, 10_000),
    find=partial(find, FILES),
    downloadable=True,
)

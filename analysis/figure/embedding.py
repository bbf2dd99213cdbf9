"""Features on a plane, and how well their classes keep apart: t-SNE and silhouettes, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainables.errors import UserError

STATE = 0
PERPLEXITY = 30.0
MOST_CLASSES = 20

# The 20 superclasses of CIFAR-100 in the order of their published numbers.
# fmt: off
SUPERCLASSES = {
    "aquatic mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit and vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household electrical devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large man-made outdoor things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large natural outdoor scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large omnivores and herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium-sized mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles 1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles 2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
# fmt: on


@dataclass(frozen=True)
class ClassGroup:
    """Classes that are drawn together."""

    title: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ClassMap:
    """points: (N, 2), labels: (N,) places in the group's classes; silhouettes of points and of features."""

    points: np.ndarray
    labels: np.ndarray
    map_silhouette: float
    feature_silhouette: float


def groups(classes: Sequence[str]) -> tuple[ClassGroup, ...]:
    """The paper's three lines where the classes are CIFAR-100's; else one of all classes, at most the first 20."""
    if set(classes) != {name for members in SUPERCLASSES.values() for name in members}:
        some = tuple(classes[:MOST_CLASSES])
        title = "All classes" if len(some) == len(classes) else f"The first {len(some)} of {len(classes)} classes"
        return (ClassGroup(title, some),)
    first = tuple(members[0] for members in list(SUPERCLASSES.values())[::2])
    return (
        ClassGroup("Ten superclasses, one class each", first),
        ClassGroup("One superclass: vehicles 1", SUPERCLASSES["vehicles 1"]),
        ClassGroup("Similar superclasses: flowers, trees", SUPERCLASSES["flowers"] + SUPERCLASSES["trees"]),
    )


def embed(features: np.ndarray, labels: np.ndarray, classes: Sequence[str], group: ClassGroup) -> ClassMap:
    """The images of a group's classes on a plane. features: (N, K), labels: (N,) places in `classes`."""
    from sklearn.manifold import TSNE
    from sklearn.metrics import silhouette_score

    places = {list(classes).index(name): place for place, name in enumerate(group.classes)}
    inside = np.isin(labels, list(places))
    own, features = np.array([places[label] for label in labels[inside].tolist()]), features[inside]
    kinds = len(set(own.tolist()))
    if not 1 < kinds < len(own):
        raise UserError(
            f"a map needs test images of two classes, and two images of one of them: there are {len(own)} images of "
            f"{kinds} classes"
        )
    perplexity = min(PERPLEXITY, (len(own) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=STATE).fit_transform(features)
    scores = [float(silhouette_score(values, own)) for values in (points, features)]
    return ClassMap(points, own, *scores)

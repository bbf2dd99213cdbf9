"""Table 6: the rows of Table 5 on TinyImageNet."""

from __future__ import annotations

from analysis.paper.table5 import CAPTION, PARTS
from analysis.table.layout import Table

TABLE = Table(
    key="table6",
    title="Table 6: HE-DA on KD and DKD, on TinyImageNet",
    parts=PARTS,
    caption=CAPTION,
    paper_note="The paper gives no training schedule for TinyImageNet: here it is CIFAR-100's. Images are cropped "
    "with a padding of 8 and normalised with ImageNet's mean and deviation, as in the code of Wang et al. (2022), "
    "from which the CutMix rows come (--set augmentation=crop_flip normalisation=own: the students' crops and all "
    "networks' normalisation as on CIFAR-100). The paper says that HE-DA of 20% on KD outperforms CutMix of all "
    "images; by its numbers not for VGG13/VGG8 and VGG13/MobileNetV2.",
    dataset="tinyimagenet",
)

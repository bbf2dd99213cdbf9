"""Table 2: the methods of Table 1 on CIFAR-100, teacher and student of different kinds."""

from __future__ import annotations

from analysis.paper.table1 import BLOCKS, TRAINED
from analysis.table.layout import Part, Table, paper_pairs
from trainables.recipes import RESNET_32X4_SV1, RESNET_32X4_SV2, RESNET_50_MV2, VGG_13_MV2, WRN_40_2_SV1

TABLE = Table(
    key="table2",
    title="Table 2: methods on CIFAR-100, teacher and student of different kinds",
    parts=(
        Part(
            "main",
            "",
            paper_pairs(WRN_40_2_SV1, RESNET_50_MV2, RESNET_32X4_SV1, RESNET_32X4_SV2, VGG_13_MV2),
            BLOCKS,
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by feature-based methods, by logit-based methods and by those with "
    "energy; teacher and student are networks of different kinds.",
    paper_note="The paper prints ResNet56 for the teacher ResNet50 (79.34). Two of its numbers look like misprints: "
    "OFD of ResNet32x4/ShuffleNetV2 (69.82) is below the student alone (71.82), and TAKD of VGG13/MobileNetV2 (65.63) "
    "repeats DML's. " + TRAINED,
)

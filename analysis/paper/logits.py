"""Not a table of the paper: losses on logits side by side, under one schedule."""

from __future__ import annotations

from dataclasses import replace

from analysis.paper import table1, temperatures
from analysis.paper.temperatures import KD, LSKD
from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import dkd, energy_dkd
from trainables.rivals import abkd, dist, dkd_lskd, eakd, nkd, rld, wsld

TABLE = Table(
    key="logits",
    title="Losses on logits",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (
                Block(
                    (
                        KD,
                        LSKD,
                        Row(
                            "wsld",
                            "WSLD",
                            wsld,
                        ),
                        Row(
                            "eakd",
                            "EA-KD",
                            eakd,
                            note="EA-KD: bound 100, as in one file of its code (another has log 100); KD's weights.",
                        ),
                    )
                ),
                Block(
                    (
                        Row("dkd", "DKD", lambda recipe, pair: dkd(recipe, pair)),
                        Row(
                            "energy_dkd_240",
                            "Energy DKD",
                            lambda recipe, pair: replace(energy_dkd(recipe, pair), long=False),
                            note="Energy DKD trains by KD's schedule here; the paper trains it longer.",
                        ),
                        Row("dkd_lskd", "DKD, LSKD", dkd_lskd),
                    )
                ),
                Block(
                    (
                        Row("dist", "DIST", dist),
                        Row("nkd", "NKD", nkd),
                        Row("rld", "RLD", rld),
                        Row(
                            "abkd",
                            "ABKD",
                            abkd,
                            note="ABKD has the numbers of ResNet56/ResNet20 for all pairs.",
                        ),
                    )
                ),
            ),
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by different losses on the logits of the same teachers, all by "
    "KD's schedule: KD and DKD, with LSKD's temperatures or with weights by sample (WSLD, EA-KD); and losses of "
    "another form.",
    published_in=(table1.TABLE, temperatures.TABLE),
)

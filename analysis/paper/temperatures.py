"""Not a table of the paper: every rule that sets temperatures, side by side under one schedule."""

from __future__ import annotations

from dataclasses import replace

from analysis.paper import table1, table2
from analysis.table.layout import Block, Part, Row, Table
from trainables.recipes import kd
from trainables.rivals import (
    ats,
    ctkd,
    dtkd,
    dtkd_by_energy,
    energy_kd_as_kd,
    lskd,
    normkd,
    spherical,
    ttm,
    wttm,
)

KD = Row("kd", "KD", lambda recipe, pair: kd(recipe))
ENERGY_KD = Row(
    "energy_kd_240",
    "Energy KD",
    energy_kd_as_kd,
    note="Energy KD, also reversed and by image, trains by KD's schedule here; the paper trains it longer.",
)
LSKD = Row("lskd", "LSKD", lskd)
NORMKD = Row("normkd", "NormKD", normkd)

TABLE = Table(
    key="temperatures",
    title="Rules that set the temperature",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (
                Block((KD,)),
                Block(
                    (
                        ENERGY_KD,
                        Row(
                            "energy_kd_240_reversed",
                            "Energy KD, reversed",
                            lambda recipe, pair: energy_kd_as_kd(recipe, pair, "reversed"),
                        ),
                        Row(
                            "energy_kd_240_by_image",
                            "Energy KD, by image",
                            lambda recipe, pair: replace(energy_kd_as_kd(recipe, pair), membership="image"),
                        ),
                    )
                ),
                Block(
                    (
                        LSKD,
                        NORMKD,
                        Row("dtkd", "DTKD", dtkd),
                        Row("dtkd_energy", "DTKD, by energy", dtkd_by_energy),
                        Row(
                            "ttm",
                            "TTM",
                            ttm,
                            note="TTM and WTTM have the numbers of one pair for all: gamma 0.1 and weight 45 of "
                            "VGG13/VGG8; gamma 0.2 and weight 4, which WTTM's code takes together with CRD.",
                        ),
                        Row("wttm", "WTTM", wttm),
                        Row("spherical", "Spherical KD", spherical),
                        Row("ctkd", "CTKD", ctkd),
                        Row(
                            "ats",
                            "ATS",
                            ats,
                            note="ATS: temperatures 4 and 2, of the labelled class and the others, are a choice.",
                        ),
                    )
                ),
            ),
        ),
    ),
    caption="Top-1 accuracy (%) of students taught by KD whose temperatures are set by different rules, all by KD's "
    "schedule. Energy KD: by the energy of the sample, also in the direction of the released code (reversed) and with "
    "membership by image. LSKD, NormKD, spherical KD: by the standard deviation of the logits. DTKD: by the sharpness "
    "of both networks, the largest logit or the energy. TTM, WTTM: for the teacher alone. CTKD: learned. ATS: one for "
    "the labelled class, another for the rest. Each rule has its own weight, as released.",
    published_in=(table1.TABLE, table2.TABLE),
)

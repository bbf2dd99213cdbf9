"""What the paper claims in its prose. Adding a claim is adding a `Claim` to CLAIMS."""

from __future__ import annotations

from analysis.claim.kinds import MARGIN, MOST, SOME, Above, Alike, Claim, Contest, Kind, above, contest, up_to

FEATURES = "fitnet pkt rkd crd at vid ofd reviewkd"
HE_DA = "kd_he_da_20 kd_he_da_30 kd_he_da_40 kd_he_da_50"
HE_MIXUP = "kd_he_mixup_20 kd_he_mixup_30 kd_he_mixup_40 kd_he_mixup_50"
RATES = (10, 20, 30, 40, 50)
METHODS = "table1 table2"
COMPARABLE = f"Comparable: at most {MARGIN:g} points below, a margin chosen here."


def _rows(word: str, *rates: int) -> tuple[str, ...]:
    """Rows of Figure 3: CutMix of high (he), low (le) or half and half (half)."""
    return tuple(f"kd_{word}_da_{rate}" for rate in rates)


def _claim(key: str, where: str, says: str, tables: str, kind: Kind, parts: str = "", reading: str = "") -> Claim:
    return Claim(key, where, says, tuple(tables.split()), kind, tuple(parts.split()), reading)


def _gain(
    key: str, section: str, tables: str, who: str, points: float, whom: str, rows: str, over: str, parts: str = ""
) -> Claim:
    """That the best of some rows gains up to so many points over the best of others."""
    says = f"{who} gains up to {points:g} points over {whom}"
    return _claim(key, f"Section {section}", says, tables, up_to(points, rows, over), parts)


CLAIMS = (
    # Section 4.2: methods with and without energy.
    _claim(
        "energy-kd", "Section 4.2", "Energy KD is above KD, whatever the networks", METHODS, above("energy_kd", "kd")
    ),
    _gain("energy-kd-gain", "4.2", METHODS, "Energy KD", 1.6, "KD", "energy_kd", "kd"),
    _claim(
        "energy-dkd",
        "Section 4.2",
        "Energy DKD is above DKD, whatever the networks",
        METHODS,
        above("energy_dkd", "dkd"),
    ),
    _gain("energy-dkd-gain", "4.2", METHODS, "Energy DKD", 0.5, "DKD", "energy_dkd", "dkd"),
    _claim(
        "energy-multi",
        "Section 4.2",
        "Energy Multi is above Multi KD, whatever the networks",
        METHODS,
        above("energy_multi", "multi"),
    ),
    _gain("energy-multi-gain", "4.2", METHODS, "Energy Multi", 0.6, "Multi KD", "energy_multi", "multi"),
    _claim(
        "energy-over-features",
        "Section 4.2",
        "The methods with energy are above all feature-based ones",
        METHODS,
        above("energy_kd energy_dkd energy_multi", FEATURES),
        reading="Read as the best of the three methods with energy, pair by pair.",
    ),
    _claim(
        "energy-kd-over-previous",
        "Abstract, Section 5",
        "Energy KD is above the previous logit-based and feature-based methods",
        METHODS,
        above("energy_kd", f"{FEATURES} dml takd kd dkd multi"),
        reading="Read as the row Energy KD, which the sentence names; energy-over-features has the other reading.",
    ),
    _claim(
        "imagenet",
        "Section 4.2",
        "On ImageNet, Energy DKD is above all other methods, top-1 and top-5",
        "table3",
        above("energy_dkd", "at ofd crd reviewkd kd dkd"),
    ),
    _gain("imagenet-dkd", "4.2", "table3", "On ImageNet, Energy DKD", 0.93, "DKD (top-1)", "energy_dkd", "dkd", "top1"),
    _gain(
        "imagenet-reviewkd",
        "4.2",
        "table3",
        "On ImageNet, Energy DKD",
        0.6,
        "ReviewKD (top-1)",
        "energy_dkd",
        "reviewkd",
        "top1",
    ),
    # Section 4.3: temperatures.
    _claim(
        "both-ends",
        "Sections 4.3 and A.3",
        "Other temperatures at both ends of the energies are better than at one end only",
        "table4",
        above("energy_kd", "low high"),
    ),
    _claim(
        "gradation",
        "Sections 4.3 and A.3",
        "Two other temperatures are comparable to a gradation of ten",
        "table4",
        above("energy_kd", "gradation", margin=MARGIN),
        reading=COMPARABLE,
    ),
    # Section 4.4: HE-DA on CIFAR-100.
    _claim(
        "he-da-20",
        "Section 4.4",
        "HE-DA of 20 % is comparable to CutMix of all, for most networks",
        "table5",
        above("kd_he_da_20", "kd_cutmix", MOST, MARGIN),
        reading=COMPARABLE,
    ),
    _claim(
        "he-da-best-rate",
        "Section 4.4",
        "HE-DA is best at 40 to 50 %",
        "table5",
        above("kd_he_da_40 kd_he_da_50", "kd_he_da_20 kd_he_da_30"),
    ),
    _claim(
        "he-da-over-all",
        "Sections 3.3 and 4.4",
        "HE-DA of 20 to 50 % on KD is above CutMix of all",
        "table5",
        above(HE_DA, "kd_cutmix"),
        reading="Read as the best of the four rates, pair by pair.",
    ),
    _gain("he-da-gain-kd", "4.4", "table5", "HE-DA", 2.87, "KD", HE_DA, "kd"),
    _gain("he-da-gain-all", "4.4", "table5", "HE-DA on KD", 0.71, "CutMix of all", HE_DA, "kd_cutmix"),
    _claim(
        "dkd-cutmix-worse",
        "Section 4.4",
        "DKD with CutMix of all is below DKD, for some networks",
        "table5",
        above("dkd", "dkd_cutmix", SOME),
    ),
    _claim(
        "dkd-he-da", "Section 4.4", "DKD with HE-DA is above DKD, for all networks", "table5", above("dkd_he_da", "dkd")
    ),
    _gain("dkd-he-da-gain", "4.4", "table5", "HE-DA", 1.86, "DKD", "dkd_he_da", "dkd"),
    _gain("dkd-he-da-gain-all", "4.4", "table5", "HE-DA on DKD", 0.68, "CutMix of all", "dkd_he_da", "dkd_cutmix"),
    # Section 4.4: HE-DA on TinyImageNet.
    _claim(
        "tiny-he-da-20",
        "Section 4.4",
        "On TinyImageNet, HE-DA of 20 % on KD is above CutMix of all",
        "table6",
        above("kd_he_da_20", "kd_cutmix"),
    ),
    _gain("tiny-he-da-gain-kd", "4.4", "table6", "On TinyImageNet, HE-DA", 1.57, "KD", HE_DA, "kd"),
    _gain(
        "tiny-he-da-gain-all",
        "4.4",
        "table6",
        "On TinyImageNet, HE-DA on KD",
        0.75,
        "CutMix of all",
        HE_DA,
        "kd_cutmix",
    ),
    _gain("tiny-dkd-gain", "4.4", "table6", "On TinyImageNet, HE-DA", 1.33, "DKD", "dkd_he_da", "dkd"),
    _gain(
        "tiny-dkd-gain-all",
        "4.4",
        "table6",
        "On TinyImageNet, HE-DA on DKD",
        1.27,
        "CutMix of all",
        "dkd_he_da",
        "dkd_cutmix",
    ),
    # Section 4.4: which samples to augment.
    _claim(
        "high-energy",
        "Sections 3.3 and 4.4",
        "CutMix of high-energy samples is above that of low-energy ones and of half each, at every rate",
        "figure3",
        Above(tuple(Contest(_rows("he", rate), (*_rows("le", rate), *_rows("half", rate))) for rate in RATES)),
    ),
    _claim(
        "half-over-low",
        "Section 4.4",
        "CutMix of half high-energy and half low-energy samples is above that of low-energy ones, at every rate",
        "figure3",
        Above(tuple(Contest(_rows("half", rate), _rows("le", rate)) for rate in RATES)),
    ),
    _claim(
        "high-stable",
        "Section 4.4",
        "CutMix of 10 to 20 % of the samples, those of high energy, is as good as of 40 to 50 %",
        "figure3",
        Alike(tuple(Contest(_rows("he", few), _rows("he", many)) for few in (10, 20) for many in (40, 50))),
        reading=f"Read as less than {MARGIN:g} points either way, a margin chosen here.",
    ),
    _claim(
        "low-harms",
        "Section 4.4",
        "CutMix of the 10 or 20 % of lowest energy can be below no augmentation",
        "figure3",
        Above(tuple(Contest(("kd",), _rows("le", rate)) for rate in (10, 20)), SOME),
    ),
    # Sections 4.7, 4.8 and B.2.
    _claim(
        "cost",
        "Section 4.7",
        "CutMix of all costs more time than HE-DA of 40 to 50 % (33.26 % more against 8.78 to 14.17 %)",
        "table7",
        Above((contest("kd_cutmix", "kd_he_da_40 kd_he_da_50"),), base="kd_he_da_10"),
        reading="Over a share of 10 %, the base of the paper's table. The ledger's seconds are those of its own "
        "devices: only the order can be compared.",
    ),
    _claim(
        "long-tail",
        "Section 4.8",
        "On the long tail, Energy KD is above DKD and ReviewKD",
        "table8",
        above("energy_kd", "dkd reviewkd"),
    ),
    _claim(
        "he-mixup",
        "Section B.2",
        "HE-MixUp of a part is comparable to or better than MixUp of all",
        "table13",
        above(HE_MIXUP, "kd_mixup", margin=MARGIN),
        reading=f"Read as the best of the four rates, pair by pair: the range is lost in the text. {COMPARABLE}",
    ),
)

"""What the paper claims in its prose. Adding a claim is adding a `Claim` to CLAIMS."""

from __future__ import annotations

from analysis.claim.kinds import MARGIN, MOST, SOME, Above, Alike, Claim, Contest, above, contest, up_to

FEATURES = "fitnet pkt rkd crd at vid ofd reviewkd"
HE_DA = "kd_he_da_20 kd_he_da_30 kd_he_da_40 kd_he_da_50"
HE_MIXUP = "kd_he_mixup_20 kd_he_mixup_30 kd_he_mixup_40 kd_he_mixup_50"
RATES = (10, 20, 30, 40, 50)
METHODS = ("table1", "table2")
COMPARABLE = f"Comparable: at most {MARGIN:g} points below, a margin chosen here."


def _rows(word: str, *rates: int) -> tuple[str, ...]:
    """Rows of Figure 3: CutMix of high (he), low (le) or half and half (half)."""
    return tuple(f"kd_{word}_da_{rate}" for rate in rates)


CLAIMS = (
    # Section 4.2: methods with and without energy.
    Claim(
        "energy-kd",
        "Section 4.2",
        "Energy KD is above KD, whatever the networks",
        METHODS,
        above("energy_kd", "kd"),
    ),
    Claim(
        "energy-kd-gain",
        "Section 4.2",
        "Energy KD gains up to 1.6 points over KD",
        METHODS,
        up_to(1.6, "energy_kd", "kd"),
    ),
    Claim(
        "energy-dkd",
        "Section 4.2",
        "Energy DKD is above DKD, whatever the networks",
        METHODS,
        above("energy_dkd", "dkd"),
    ),
    Claim(
        "energy-dkd-gain",
        "Section 4.2",
        "Energy DKD gains up to 0.5 points over DKD",
        METHODS,
        up_to(0.5, "energy_dkd", "dkd"),
    ),
    Claim(
        "energy-multi",
        "Section 4.2",
        "Energy Multi is above Multi KD, whatever the networks",
        METHODS,
        above("energy_multi", "multi"),
    ),
    Claim(
        "energy-multi-gain",
        "Section 4.2",
        "Energy Multi gains up to 0.6 points over Multi KD",
        METHODS,
        up_to(0.6, "energy_multi", "multi"),
    ),
    Claim(
        "energy-over-features",
        "Section 4.2",
        "The methods with energy are above all feature-based ones",
        METHODS,
        above("energy_kd energy_dkd energy_multi", FEATURES),
        reading="Read as the best of the three methods with energy, pair by pair.",
    ),
    Claim(
        "energy-kd-over-previous",
        "Abstract, Section 5",
        "Energy KD is above the previous logit-based and feature-based methods",
        METHODS,
        above("energy_kd", f"{FEATURES} dml takd kd dkd multi"),
        reading="Read as the row Energy KD, which the sentence names; energy-over-features has the other reading.",
    ),
    Claim(
        "imagenet",
        "Section 4.2",
        "On ImageNet, Energy DKD is above all other methods, top-1 and top-5",
        ("table3",),
        above("energy_dkd", "at ofd crd reviewkd kd dkd"),
    ),
    Claim(
        "imagenet-dkd",
        "Section 4.2",
        "On ImageNet, Energy DKD gains up to 0.93 points over DKD (top-1)",
        ("table3",),
        up_to(0.93, "energy_dkd", "dkd"),
        parts=("top1",),
    ),
    Claim(
        "imagenet-reviewkd",
        "Section 4.2",
        "On ImageNet, Energy DKD gains up to 0.6 points over ReviewKD (top-1)",
        ("table3",),
        up_to(0.6, "energy_dkd", "reviewkd"),
        parts=("top1",),
    ),
    # Section 4.3: temperatures.
    Claim(
        "both-ends",
        "Sections 4.3 and A.3",
        "Other temperatures at both ends of the energies are better than at one end only",
        ("table4",),
        above("energy_kd", "low high"),
    ),
    Claim(
        "gradation",
        "Sections 4.3 and A.3",
        "Two other temperatures are comparable to a gradation of ten",
        ("table4",),
        above("energy_kd", "gradation", margin=MARGIN),
        reading=COMPARABLE,
    ),
    # Section 4.4: HE-DA on CIFAR-100.
    Claim(
        "he-da-20",
        "Section 4.4",
        "HE-DA of 20 % is comparable to CutMix of all, for most networks",
        ("table5",),
        above("kd_he_da_20", "kd_cutmix", MOST, MARGIN),
        reading=COMPARABLE,
    ),
    Claim(
        "he-da-best-rate",
        "Section 4.4",
        "HE-DA is best at 40 to 50 %",
        ("table5",),
        above("kd_he_da_40 kd_he_da_50", "kd_he_da_20 kd_he_da_30"),
    ),
    Claim(
        "he-da-over-all",
        "Sections 3.3 and 4.4",
        "HE-DA of 20 to 50 % on KD is above CutMix of all",
        ("table5",),
        above(HE_DA, "kd_cutmix"),
        reading="Read as the best of the four rates, pair by pair.",
    ),
    Claim(
        "he-da-gain-kd", "Section 4.4", "HE-DA gains up to 2.87 points over KD", ("table5",), up_to(2.87, HE_DA, "kd")
    ),
    Claim(
        "he-da-gain-all",
        "Section 4.4",
        "HE-DA on KD gains up to 0.71 points over CutMix of all",
        ("table5",),
        up_to(0.71, HE_DA, "kd_cutmix"),
    ),
    Claim(
        "dkd-cutmix-worse",
        "Section 4.4",
        "DKD with CutMix of all is below DKD, for some networks",
        ("table5",),
        above("dkd", "dkd_cutmix", SOME),
    ),
    Claim(
        "dkd-he-da",
        "Section 4.4",
        "DKD with HE-DA is above DKD, for all networks",
        ("table5",),
        above("dkd_he_da", "dkd"),
    ),
    Claim(
        "dkd-he-da-gain",
        "Section 4.4",
        "HE-DA gains up to 1.86 points over DKD",
        ("table5",),
        up_to(1.86, "dkd_he_da", "dkd"),
    ),
    Claim(
        "dkd-he-da-gain-all",
        "Section 4.4",
        "HE-DA on DKD gains up to 0.68 points over CutMix of all",
        ("table5",),
        up_to(0.68, "dkd_he_da", "dkd_cutmix"),
    ),
    # Section 4.4: HE-DA on TinyImageNet.
    Claim(
        "tiny-he-da-20",
        "Section 4.4",
        "On TinyImageNet, HE-DA of 20 % on KD is above CutMix of all",
        ("table6",),
        above("kd_he_da_20", "kd_cutmix"),
    ),
    Claim(
        "tiny-he-da-gain-kd",
        "Section 4.4",
        "On TinyImageNet, HE-DA gains up to 1.57 points over KD",
        ("table6",),
        up_to(1.57, HE_DA, "kd"),
    ),
    Claim(
        "tiny-he-da-gain-all",
        "Section 4.4",
        "On TinyImageNet, HE-DA on KD gains up to 0.75 points over CutMix of all",
        ("table6",),
        up_to(0.75, HE_DA, "kd_cutmix"),
    ),
    Claim(
        "tiny-dkd-gain",
        "Section 4.4",
        "On TinyImageNet, HE-DA gains up to 1.33 points over DKD",
        ("table6",),
        up_to(1.33, "dkd_he_da", "dkd"),
    ),
    Claim(
        "tiny-dkd-gain-all",
        "Section 4.4",
        "On TinyImageNet, HE-DA on DKD gains up to 1.27 points over CutMix of all",
        ("table6",),
        up_to(1.27, "dkd_he_da", "dkd_cutmix"),
    ),
    # Section 4.4: which samples to augment.
    Claim(
        "high-energy",
        "Sections 3.3 and 4.4",
        "CutMix of high-energy samples is above that of low-energy ones and of half each, at every rate",
        ("figure3",),
        Above(tuple(Contest(_rows("he", rate), (*_rows("le", rate), *_rows("half", rate))) for rate in RATES)),
    ),
    Claim(
        "half-over-low",
        "Section 4.4",
        "CutMix of half high-energy and half low-energy samples is above that of low-energy ones, at every rate",
        ("figure3",),
        Above(tuple(Contest(_rows("half", rate), _rows("le", rate)) for rate in RATES)),
    ),
    Claim(
        "high-stable",
        "Section 4.4",
        "CutMix of 10 to 20 % of the samples, those of high energy, is as good as of 40 to 50 %",
        ("figure3",),
        Alike(tuple(Contest(_rows("he", few), _rows("he", many)) for few in (10, 20) for many in (40, 50))),
        reading=f"Read as less than {MARGIN:g} points either way, a margin chosen here.",
    ),
    Claim(
        "low-harms",
        "Section 4.4",
        "CutMix of the 10 or 20 % of lowest energy can be below no augmentation",
        ("figure3",),
        Above(tuple(Contest(("kd",), _rows("le", rate)) for rate in (10, 20)), SOME),
    ),
    # Sections 4.7, 4.8 and B.2.
    Claim(
        "cost",
        "Section 4.7",
        "CutMix of all costs more time than HE-DA of 40 to 50 % (33.26 % more against 8.78 to 14.17 %)",
        ("table7",),
        Above((contest("kd_cutmix", "kd_he_da_40 kd_he_da_50"),), base="kd_he_da_10"),
        reading="Over a share of 10 %, the base of the paper's table. The ledger's seconds are those of its own "
        "devices: only the order can be compared.",
    ),
    Claim(
        "long-tail",
        "Section 4.8",
        "On the long tail, Energy KD is above DKD and ReviewKD",
        ("table8",),
        above("energy_kd", "dkd reviewkd"),
    ),
    Claim(
        "he-mixup",
        "Section B.2",
        "HE-MixUp of a part is comparable to or better than MixUp of all",
        ("table13",),
        above(HE_MIXUP, "kd_mixup", margin=MARGIN),
        reading=f"Read as the best of the four rates, pair by pair: the range is lost in the text. {COMPARABLE}",
    ),
)

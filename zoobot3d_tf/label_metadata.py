"""Questions and answers of each Galaxy Zoo survey, and which answer leads to which question.

`zoobot3d_tf.schemas.get_schema(name)` makes a `Schema` from these tables. `..._pairs` lists the answers of each
question, in the order of the published tables. `..._dependencies` gives the answer or answers after which a question is
asked; None means that it is always asked.

The tables `decals`, `decals_partial`, `gz2` and `gz2_partial` are from Zoobot v0.0.2, the others from galaxy-datasets.
There are two changes. The question about merging is asked if a galaxy is smooth or featured; the published tables allow
one answer only, and say that it is always asked. Hubble and CANDELS without a suffix, which were published without
dependencies, have the dependencies of the trees with the suffix.
"""

Pairs = dict[str, list[str]]
Dependencies = dict[str, str | tuple[str, ...] | None]

SMOOTH_OR_FEATURED = ("smooth-or-featured_smooth", "smooth-or-featured_featured-or-disk")
SMOOTH_OR_FEATURES = ("smooth-or-featured_smooth", "smooth-or-featured_features")  # Hubble and CANDELS say 'features'

# DECaLS, and the surveys that use its tree: Cosmic Dawn, Euclid, JWST

disk_pairs: Pairs = {
    "disk-edge-on": ["_yes", "_no"],
    "has-spiral-arms": ["_yes", "_no"],
    "bar": ["_strong", "_weak", "_no"],
    "bulge-size": ["_dominant", "_large", "_moderate", "_small", "_none"],
    "how-rounded": ["_round", "_in-between", "_cigar-shaped"],
    "edge-on-bulge": ["_boxy", "_none", "_rounded"],
    "spiral-winding": ["_tight", "_medium", "_loose"],
    "spiral-arm-count": ["_1", "_2", "_3", "_4", "_more-than-4", "_cant-tell"],
}
merging_pairs: Pairs = {"merging": ["_none", "_minor-disturbance", "_major-disturbance", "_merger"]}

decals_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_featured-or-disk", "_artifact"],
    **disk_pairs,
    **merging_pairs,
}
decals_dependencies: Dependencies = {
    "smooth-or-featured": None,
    "disk-edge-on": "smooth-or-featured_featured-or-disk",
    "has-spiral-arms": "disk-edge-on_no",
    "bar": "disk-edge-on_no",
    "bulge-size": "disk-edge-on_no",
    "how-rounded": "smooth-or-featured_smooth",
    "edge-on-bulge": "disk-edge-on_yes",
    "spiral-winding": "has-spiral-arms_yes",
    "spiral-arm-count": "has-spiral-arms_yes",
    "merging": SMOOTH_OR_FEATURED,
}

# Data releases 1 and 2 had other answers to the same questions.
decals_dr12_pairs: Pairs = {
    **decals_pairs,
    "bar": ["_yes", "_no"],
    "bulge-size": ["_dominant", "_obvious", "_none"],
    "how-rounded": ["_completely", "_in-between", "_cigar-shaped"],
    "spiral-arm-count": ["_1", "_2", "_3", "_4", "_more-than-4"],
    "merging": ["_neither", "_tidal-debris", "_both", "_merger"],
}

decals_partial_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_featured-or-disk"],
    "has-spiral-arms": decals_pairs["has-spiral-arms"],
    "bar": decals_pairs["bar"],
    "bulge-size": decals_pairs["bulge-size"],
}
decals_partial_dependencies: Dependencies = {
    "smooth-or-featured": None,
    "has-spiral-arms": "smooth-or-featured_featured-or-disk",
    "bar": "smooth-or-featured_featured-or-disk",
    "bulge-size": "smooth-or-featured_featured-or-disk",
}

cosmic_dawn_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_featured-or-disk", "_problem"],
    **disk_pairs,
    **merging_pairs,
    "clumps": ["_yes", "_no"],
    "problem": ["_star", "_artifact", "_zoom"],
    "artifact": ["_satellite", "_scattered", "_diffraction", "_ray", "_saturation", "_other"],
}
cosmic_dawn_dependencies: Dependencies = {
    **decals_dependencies,
    "clumps": "disk-edge-on_no",
    "problem": "smooth-or-featured_problem",
    "artifact": "problem_artifact",
}

euclid_pairs: Pairs = {**cosmic_dawn_pairs, "artifact": [*cosmic_dawn_pairs["artifact"], "_ghost"]}

jwst_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_featured-or-disk", "_star-artifact-zoom"],
    **disk_pairs,
    "clumps": ["_yes", "_no"],
    **merging_pairs,
    "problem": ["_star", "_artifact", "_bad-zoom"],
}
jwst_dependencies: Dependencies = {
    **decals_dependencies,
    "clumps": None,
    "problem": "smooth-or-featured_star-artifact-zoom",
}

jwst_cosmos_pairs: Pairs = {question: jwst_pairs[question] for question in jwst_pairs if question != "how-rounded"}

# Galaxy Zoo 2, and UKIDSS, which uses its tree

gz2_artifact_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_featured-or-disk", "_artifact"],
    "disk-edge-on": ["_yes", "_no"],
    "has-spiral-arms": ["_yes", "_no"],
    "bar": ["_yes", "_no"],
    "bulge-size": ["_dominant", "_obvious", "_just-noticeable", "_no"],
    "something-odd": ["_yes", "_no"],
    "how-rounded": ["_round", "_in-between", "_cigar"],
    "bulge-shape": ["_round", "_boxy", "_no-bulge"],
    "spiral-winding": ["_tight", "_medium", "_loose"],
    "spiral-arm-count": ["_1", "_2", "_3", "_4", "_more-than-4", "_cant-tell"],
}
gz2_artifact_dependencies: Dependencies = {
    "smooth-or-featured": None,
    "disk-edge-on": "smooth-or-featured_featured-or-disk",
    "has-spiral-arms": "smooth-or-featured_featured-or-disk",
    "bar": "smooth-or-featured_featured-or-disk",
    "bulge-size": "smooth-or-featured_featured-or-disk",
    "something-odd": None,
    "how-rounded": "smooth-or-featured_smooth",
    "bulge-shape": "disk-edge-on_yes",
    "spiral-winding": "has-spiral-arms_yes",
    "spiral-arm-count": "has-spiral-arms_yes",
}

# Zoobot v0.0.2 has no answer artifact, and another name for the arm count. It asks about spirals, bars and bulges only
# if the disk is not edge-on.
gz2_pairs: Pairs = {
    **{question: gz2_artifact_pairs[question] for question in gz2_artifact_pairs if question != "spiral-arm-count"},
    "smooth-or-featured": ["_smooth", "_featured-or-disk"],
    "spiral-count": gz2_artifact_pairs["spiral-arm-count"],
}
gz2_dependencies: Dependencies = {
    **gz2_artifact_dependencies,
    "has-spiral-arms": "disk-edge-on_no",
    "bar": "disk-edge-on_no",
    "bulge-size": "disk-edge-on_no",
    "spiral-count": "has-spiral-arms_yes",
}

gz2_partial_pairs: Pairs = {"smooth-or-featured": gz2_pairs["smooth-or-featured"]}
gz2_partial_dependencies: Dependencies = {"smooth-or-featured": None}

# Hubble and CANDELS

hubble_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_features", "_artifact"],
    "how-rounded": ["_completely", "_in-between", "_cigar-shaped"],
    "clumpy-appearance": ["_yes", "_no"],
    "disk-edge-on": ["_yes", "_no"],
    "bulge-shape": ["_rounded", "_boxy", "_none"],
    "bar": ["_yes", "_no"],
    "has-spiral-arms": ["_yes", "_no"],
    "spiral-winding": ["_tight", "_medium", "_loose"],
    "spiral-arm-count": ["_1", "_2", "_3", "_4", "_5-plus", "_cant-tell"],
    "bulge-size": ["_none", "_just-noticeable", "_obvious", "_dominant"],
    "galaxy-symmetrical": ["_yes", "_no"],
    "clumps-embedded-larger-object": ["_yes", "_no"],
}
# As in the published tables, winding and arm count depend on 'not edge-on', not on 'has spiral arms'.
hubble_dependencies: Dependencies = {
    "smooth-or-featured": None,
    "how-rounded": "smooth-or-featured_smooth",
    "clumpy-appearance": "smooth-or-featured_features",
    "disk-edge-on": "clumpy-appearance_no",
    "bulge-shape": "disk-edge-on_yes",
    "bar": "disk-edge-on_no",
    "has-spiral-arms": "disk-edge-on_no",
    "spiral-winding": "disk-edge-on_no",
    "spiral-arm-count": "disk-edge-on_no",
    "bulge-size": "disk-edge-on_no",
    "galaxy-symmetrical": "clumpy-appearance_yes",
    "clumps-embedded-larger-object": "clumpy-appearance_yes",
}

_clumpy = ("clumpy-appearance", "galaxy-symmetrical", "clumps-embedded-larger-object")
hubble_v2_pairs: Pairs = {question: hubble_pairs[question] for question in hubble_pairs if question not in _clumpy}
hubble_v2_dependencies: Dependencies = {**hubble_dependencies, "disk-edge-on": "smooth-or-featured_features"}

candels_pairs: Pairs = {
    "smooth-or-featured": ["_smooth", "_features", "_artifact"],
    "how-rounded": ["_completely", "_in-between", "_cigar-shaped"],
    "clumpy-appearance": ["_yes", "_no"],
    "disk-edge-on": ["_yes", "_no"],
    "edge-on-bulge": ["_yes", "_no"],
    "bar": ["_yes", "_no"],
    "has-spiral-arms": ["_yes", "_no"],
    "spiral-winding": ["_tight", "_medium", "_loose"],
    "spiral-arm-count": ["_1", "_2", "_3", "_4", "_5-plus", "_cant-tell"],
    "bulge-size": ["_none", "_obvious", "_dominant"],
    "merging": ["_merger", "_tidal-debris", "_both", "_neither"],
}
candels_dependencies: Dependencies = {
    **hubble_dependencies,
    "edge-on-bulge": "disk-edge-on_yes",
    "merging": SMOOTH_OR_FEATURES,
}

# Rings

rings_pairs: Pairs = {"ring": ["_yes", "_no"]}
rings_dependencies: Dependencies = {"ring": None}

# Galaxy Zoo: the questions that several surveys ask, under one name. `zoobot3d_tf.common_tree` converts votes to it.

galaxy_zoo_pairs: Pairs = {
    **decals_pairs,
    "bar": ["_yes", "_no"],
    "bar-strength": ["_strong", "_weak"],
    **rings_pairs,
}
galaxy_zoo_dependencies: Dependencies = {
    **decals_dependencies,
    "bar-strength": "bar_yes",
    **rings_dependencies,
}
# Names of the same question, and of the same answer to it, in other trees.
galaxy_zoo_questions: dict[str, str] = {"bulge-shape": "edge-on-bulge", "spiral-count": "spiral-arm-count"}
galaxy_zoo_answers: dict[str, dict[str, str]] = {
    "smooth-or-featured": {"features": "featured-or-disk", "problem": "artifact", "star-artifact-zoom": "artifact"},
    "bar": {"strong": "yes", "weak": "yes"},
    "how-rounded": {"completely": "round", "cigar": "cigar-shaped"},
    "edge-on-bulge": {"round": "rounded", "no-bulge": "none"},
    "spiral-arm-count": {"5-plus": "more-than-4"},
}
# Answers that also answer a second question.
galaxy_zoo_also: dict[str, str] = {"bar_strong": "bar-strength_strong", "bar_weak": "bar-strength_weak"}

# Classes that experts or volunteers gave, as answers of the tree galaxy_zoo.
galaxy_classes: dict[str, tuple[str, ...]] = {
    "elliptical": ("smooth-or-featured_smooth",),
    "spiral": ("smooth-or-featured_featured-or-disk", "disk-edge-on_no", "has-spiral-arms_yes"),
    "barred_spiral": ("smooth-or-featured_featured-or-disk", "disk-edge-on_no", "has-spiral-arms_yes", "bar_yes"),
    "edge_on": ("smooth-or-featured_featured-or-disk", "disk-edge-on_yes"),
    "merger": ("merging_merger",),
    "artifact": ("smooth-or-featured_artifact",),
    "unknown": (),
}
# Names of the same class in other catalogues: Galaxy Zoo 1 (Lintott+11) and the Galaxy Zoo challenge of 2013.
galaxy_class_names: dict[str, str] = {
    "spiral-clockwise": "spiral",
    "spiral-anticlockwise": "spiral",
    "spiral-edge-on": "edge_on",
    "edge_view_spiral": "edge_on",
    "dont-know": "unknown",
}

# Questions, dependencies and suffix of each tree by name. The suffix (names with "ortho") distinguishes the votes of
# different campaigns. Dependencies of questions that the tree does not have are ignored.
trees: dict[str, tuple[Pairs, Dependencies, str]] = {
    "decals": (decals_pairs, decals_dependencies, ""),
    "decals_partial": (decals_partial_pairs, decals_partial_dependencies, ""),
    "decals_dr12_ortho": (decals_dr12_pairs, decals_dependencies, "-dr12"),
    "decals_dr5_ortho": (decals_pairs, decals_dependencies, "-dr5"),
    "decals_dr8_ortho": (decals_pairs, decals_dependencies, "-dr8"),
    "desi": (decals_pairs, decals_dependencies, ""),
    "gz2": (gz2_pairs, gz2_dependencies, ""),
    "gz2_partial": (gz2_partial_pairs, gz2_partial_dependencies, ""),
    "gz2_ortho": (gz2_artifact_pairs, gz2_artifact_dependencies, "-gz2"),
    "ukidss_ortho": (gz2_artifact_pairs, gz2_artifact_dependencies, "-ukidss"),
    "rings": (rings_pairs, rings_dependencies, ""),
    "galaxy_zoo": (galaxy_zoo_pairs, galaxy_zoo_dependencies, ""),
    "hubble": (hubble_pairs, hubble_dependencies, ""),
    "hubble_ortho": (hubble_pairs, hubble_dependencies, "-hubble"),
    "hubble_v2": (hubble_v2_pairs, hubble_v2_dependencies, ""),
    "hubble_v2_ortho": (hubble_v2_pairs, hubble_v2_dependencies, "-hubble"),
    "candels": (candels_pairs, candels_dependencies, ""),
    "candels_ortho": (candels_pairs, candels_dependencies, "-candels"),
    "cosmic_dawn": (cosmic_dawn_pairs, cosmic_dawn_dependencies, ""),
    "cosmic_dawn_ortho": (cosmic_dawn_pairs, cosmic_dawn_dependencies, "-cd"),
    "euclid": (euclid_pairs, cosmic_dawn_dependencies, ""),
    "euclid_ortho": (euclid_pairs, cosmic_dawn_dependencies, "-euclid"),
    "jwst_ortho": (jwst_pairs, jwst_dependencies, "-jwst"),
    "jwst_cosmos_ortho": (jwst_cosmos_pairs, jwst_dependencies, "-jwst"),
}

# Trees that consist of other trees, in this order.
_decals_campaigns = ("decals_dr12_ortho", "decals_dr5_ortho", "decals_dr8_ortho")
_public_v1 = (*_decals_campaigns, "gz2_ortho", "candels_ortho", "hubble_ortho")
_public_v2 = (*_decals_campaigns, "gz2_ortho", "candels_ortho", "hubble_v2_ortho")
joined_trees: dict[str, tuple[str, ...]] = {
    "decals_rings": ("decals", "rings"),
    "decals_all_campaigns_ortho": _decals_campaigns,
    "gz_evo_v1": (*_public_v1, "cosmic_dawn_ortho"),
    "gz_evo_v1_public": _public_v1,
    "gz_evo_v2": (*_public_v2, "cosmic_dawn_ortho", "euclid_ortho"),
    "gz_evo_v2_public": _public_v2,
}

# What each tree is for, in one line.
tree_notes: dict[str, str] = {
    "decals": "Galaxy Zoo DECaLS, campaign of DR5 (Legacy Surveys, g, r, z); the usual choice for a new optical survey",
    "decals_partial": "the first four questions of decals",
    "decals_dr12_ortho": "Galaxy Zoo DECaLS, campaigns of DR1 and DR2; columns end in -dr12",
    "decals_dr5_ortho": "Galaxy Zoo DECaLS, campaign of DR5; columns end in -dr5",
    "decals_dr8_ortho": "Galaxy Zoo DECaLS, campaign of DR8; columns end in -dr8",
    "desi": "Galaxy Zoo DESI (Legacy Surveys DR8), which has the questions of decals",
    "gz2": "Galaxy Zoo 2 (SDSS), as the first Zoobot used it",
    "gz2_partial": "the first question of gz2: smooth, or featured or disk",
    "gz2_ortho": "Galaxy Zoo 2 (SDSS) with artefacts; columns end in -gz2",
    "ukidss_ortho": "Galaxy Zoo UKIDSS (near infrared); columns end in -ukidss",
    "rings": "one question: is there a ring?",
    "galaxy_zoo": "the questions that the campaigns share; the common tree of several surveys begins with it",
    "hubble": "Galaxy Zoo Hubble, with clumps",
    "hubble_ortho": "the same; columns end in -hubble",
    "hubble_v2": "Galaxy Zoo Hubble, without the details of clumps",
    "hubble_v2_ortho": "the same; columns end in -hubble",
    "candels": "Galaxy Zoo CANDELS (Hubble, near infrared), with clumps",
    "candels_ortho": "the same; columns end in -candels",
    "cosmic_dawn": "Galaxy Zoo Cosmic Dawn (Hyper Suprime-Cam)",
    "cosmic_dawn_ortho": "the same; columns end in -cd",
    "euclid": "Galaxy Zoo Euclid: cosmic_dawn, and ghosts among the artefacts",
    "euclid_ortho": "the same; columns end in -euclid",
    "jwst_ortho": "Galaxy Zoo JWST; columns end in -jwst",
    "jwst_cosmos_ortho": "Galaxy Zoo JWST COSMOS: jwst_ortho without the roundness; columns end in -jwst",
    "decals_rings": "decals and rings, as in the labels of rings of DECaLS galaxies",
    "decals_all_campaigns_ortho": "the three campaigns of DECaLS, side by side",
    "gz_evo_v1": "GZ Evo: the campaigns of DECaLS, gz2, candels, hubble and cosmic_dawn, side by side",
    "gz_evo_v1_public": "gz_evo_v1 without cosmic_dawn",
    "gz_evo_v2": "GZ Evo as Zoobot 2 uses it: hubble_v2 in place of hubble, and euclid",
    "gz_evo_v2_public": "gz_evo_v2 without cosmic_dawn and euclid",
}

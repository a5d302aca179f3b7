"""The configuration of the experiment `joint-vs-single`: what a file may say, and what is refused in words."""

from dataclasses import replace

import pytest
import yaml

from zoobot3d_tf.evaluation.experiment_config import PARTS, Experiment, Variant, differences, read_experiment

BUDGET = {"img_size": 100, "crop_size": 64, "resize_size": 32, "epochs": 2, "galaxies_per_epoch": 64, "batch_size": 8}
VARIANTS = {
    "masks-only": {"learns": ["masks"]},
    "joint": {"learns": ["votes", "masks"], "sizes": [20]},
    "votes-only": {"learns": ["votes"]},
}


@pytest.fixture
def write(tmp_path):
    """Write a configuration with changes, and return its path."""
    catalog = tmp_path / "catalog.csv"
    catalog.write_text("id_str,file_loc\na,a.png\n")

    def write(**changes):
        content = {
            "votes": {"catalog": str(catalog), "schema": "decals"},
            "masks": {"catalog": str(catalog)},
            "sizes": [10, 20],
            "budget": BUDGET,
            "variants": VARIANTS,
            "comparisons": [["joint", "masks-only"]],
        }
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(content | changes))
        return path

    return write


def test_a_file_gives_an_experiment(write):
    experiment = read_experiment(write(seeds=2))
    assert experiment.seeds == 2
    assert experiment.budget.batch_size == 8
    assert experiment.variants["joint"] == Variant(("votes", "masks"), sizes=(20,))
    assert experiment.comparisons == (("joint", "masks-only"),)
    assert [experiment.sizes_of(variant) for variant in experiment.variants.values()] == [(20,), (10, 20), (None,)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 3}, r"experiment\.yaml: seed: unknown key 'seed'; the nearest is 'seeds'"),
        ({"budget": BUDGET | {"crop": 3}}, "budget.crop: unknown key 'crop'; the nearest is 'crop_size'"),
        ({"budget": {"img_size": 100}}, "budget must have the key crop_size"),
        ({"budget": BUDGET | {"epochs": 0}}, "budget.epochs must be at least 1; received 0"),
        ({"budget": BUDGET | {"mask_loss": "dice"}}, "budget.mask_loss must be one of l1.*received 'dice'"),
        ({"sizes": "all"}, r"sizes must be a list.*received 'all'"),
        ({"sizes": [10, "x"]}, "sizes must be a whole number; received 'x'"),
        ({"sizes": [20, 10]}, r"sizes must be whole numbers above 0 that increase; received \[20, 10\]"),
        ({"seeds": 0}, "seeds must be at least 1; received 0"),
        ({"seeds": True}, "seeds must be a whole number; received True"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"folds": 3, "scored_folds": 4}, "scored_folds must be at most folds, 3; received 4"),
        ({"validation_share": 1}, "validation_share must be between 0 and 1; received 1.0"),
        ({"masks": {"catalog": "nosuch.csv"}}, r"masks\.catalog: nosuch\.csv: no such file"),
        ({"variants": {"a": {"learns": ["masks", "rings"]}}}, r"variants\.a\.learns must be of .*received rings"),
        ({"variants": {"a": {"learns": ["votes"], "sizes": [10]}}}, "learns no masks"),
        ({"variants": {"a": {"learns": ["masks"], "sizes": [11]}}}, r"variants\.a\.sizes must be .*received \[11\]"),
        ({"variants": {"a": {"learns": ["masks"], "alternating": True}}}, "alternating needs"),
        (
            {"variants": {"a": {"learns": ["votes", "masks"], "alternating": True, "masked_share": 0.3}}},
            "multiples of it per epoch; received 45 galaxies with votes and 19 with masks",
        ),
        ({"variants": {"a": {"learns": ["masks"], "after": "b"}}}, r"variants\.a\.after: unknown variant 'b'.*'a'"),
        ({"variants": {"../a": {"learns": ["masks"]}}}, "must not have /"),
        ({"comparisons": [["joint", "mask-only"]]}, "unknown variant 'mask-only'; the nearest is 'masks-only'"),
        ({"comparisons": [["joint"]]}, "comparisons must be pairs"),
    ],
)
def test_mistakes_are_refused_with_their_place(write, changes, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        read_experiment(write(**changes))


def test_a_file_that_is_not_yaml_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("sizes: [1, 2")
    with pytest.raises(ValueError, match=r"a\.yaml: the file is not valid YAML"):
        read_experiment(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="the file must be 'key: value' entries"):
        read_experiment(tmp_path / "a.yaml")


def test_each_galaxy_is_in_one_part_and_scored_in_one_fold(write):
    experiment: Experiment = read_experiment(write(folds=3, validation_share=0.2))
    ids = [f"galaxy{number}" for number in range(600)]
    parts = {fold: [experiment.part_of(id_str, fold) for id_str in ids] for fold in range(3)}
    assert all([row.count("scored") == 1 for row in zip(*parts.values(), strict=True)])
    shares = [parts[0].count(part) / 600 for part in PARTS]
    assert shares == pytest.approx([0.8 * 2 / 3, 0.2 * 2 / 3, 1 / 3], abs=0.06)


def test_the_images_of_an_epoch_are_divided_by_the_share_of_masked_galaxies(write):
    experiment = read_experiment(write())
    joint = experiment.variants["joint"]
    assert experiment.images_per_epoch(joint, 1000, 20) == (32, 32)
    assert experiment.images_per_epoch(replace(joint, masked_share=0.25), 1000, 20) == (48, 16)
    assert experiment.images_per_epoch(replace(joint, masked_share="natural"), 180, 20) == (58, 6)
    assert experiment.images_per_epoch(replace(joint, masked_share="natural"), 10**6, 20) == (63, 1)


def test_only_additions_may_change_a_begun_experiment(write):
    old = read_experiment(write()).to_dict()
    more = {"extra": {"learns": ["masks"]}, "joint": VARIANTS["joint"] | {"sizes": [10, 20]}}
    added = read_experiment(write(seeds=5, sizes=[5, 10, 20], variants=VARIANTS | more)).to_dict()
    assert differences(old, added) == []
    changed = read_experiment(write(budget=BUDGET | {"epochs": 3}, folds=4)).to_dict()
    assert differences(old, changed) == ["budget.epochs was 2, now 3", "folds was 5, now 4"]
    other = read_experiment(write(variants=VARIANTS | {"votes-only": {"learns": ["votes"], "encoder_weights": "x"}}))
    assert differences(old, other.to_dict()) == ["variants.votes-only.encoder_weights was None, now x"]


def test_a_changed_catalogue_is_noticed(write, tmp_path):
    old = read_experiment(write()).to_dict()
    (tmp_path / "catalog.csv").write_text("id_str,file_loc\nb,b.png\n")
    assert [text.split()[0] for text in differences(old, read_experiment(write()).to_dict())] == [
        "masks.sha256",
        "votes.sha256",
    ]

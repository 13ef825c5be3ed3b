"""Configurations: what is refused and how, and that the methods share what method.md says they share."""

from __future__ import annotations

import dataclasses

import pytest

from vpmim.config import (
    Config,
    ConfigError,
    LossConfig,
    MaskConfig,
    config_from_tree,
    config_names,
    differences,
    dump_toml,
    flatten,
    load_config,
)

METHODS = (
    "attmask",
    "cxr_mim",
    "demo",
    "hpm",
    "localmim",
    "mae",
    "medical_mae",
    "simmim",
    "vp_mim",
    "vp_mim_joint",
)


def test_every_method_has_a_config_that_loads():
    assert set(METHODS) <= set(config_names())
    for name in config_names():
        assert isinstance(load_config(name), Config)


def test_the_defaults_are_vp_mim():
    assert differences(Config(), load_config("vp_mim")) == []


def test_cxr_mim_and_localmim_differ_from_vp_mim_in_the_prior_alone():
    about_the_prior = {
        "prior.source",
        "data.measured_share",
        "mask.kind",
        "loss.gaze_weighting",
        "loss.normalise",
        "loss.gaze_prediction",
        "recalibrate.mode",
    }
    base = flatten(load_config("vp_mim"))
    for name in ("cxr_mim", "localmim"):
        other = flatten(load_config(name))
        assert {key for key in base if base[key] != other[key]} <= about_the_prior


def test_a_change_of_the_shared_recipe_changes_all_three(tmp_path):
    copy = tmp_path / "mine.toml"
    copy.write_text('extends = "vp_mim"\n[train]\nepochs = 7\n')
    child = tmp_path / "child.toml"
    child.write_text('extends = "mine.toml"\n[loss]\ngaze_weighting = "ref"\n')
    assert load_config(child).train.epochs == 7
    assert load_config(child).loss == LossConfig(gaze_weighting="ref")


def test_every_config_states_source_hardware_time_score_command():
    from vpmim.config import config_folders

    files = [path for folder in config_folders() for path in folder.rglob("*.toml")]
    assert files
    for path in files:
        head = [line for line in path.read_text().splitlines() if line.startswith("#")]
        for word in ("Source:", "Hardware:", "Time:", "Score:", "Command:"):
            assert any(word in line for line in head), f"{path.name} lacks {word}"


def test_published_recipes_change_the_recipe_and_not_the_method():
    papers = {name.removeprefix("paper/") for name in config_names() if name.startswith("paper/")}
    assert papers == {"attmask", "cxr_mim", "hpm", "localmim", "mae", "medical_mae", "simmim", "vp_mim"}
    recipe = ("train.", "data.", "model.", "target.gate", "loss.normalise")
    for name in papers - {"attmask", "vp_mim"}:  # whose own loss is a teacher's features; who has no recipe of its own
        ours, paper = flatten(load_config(name)), flatten(load_config(f"paper/{name}"))
        assert all(key.startswith(recipe) for key in ours if ours[key] != paper[key])
        assert ours["model.encoder"] == paper["model.encoder"]
    # learning rates by their rules: per 256 images, and SimMIM's per 512
    rates = {name: load_config(f"paper/{name}").learning_rate for name in papers}
    assert rates["mae"] == pytest.approx(2.4e-3)
    assert rates["localmim"] == pytest.approx(1.6e-3)
    assert rates["medical_mae"] == rates["hpm"] == pytest.approx(1.2e-3)
    assert rates["simmim"] == pytest.approx(4e-4)
    assert rates["cxr_mim"] == pytest.approx(1.5e-3)


def test_the_paper_s_vp_mim_is_ours_without_the_gaze_head_and_prefers_no_image():
    paper = load_config("paper/vp_mim")
    assert differences(paper, load_config("vp_mim")) == [
        "data.measured_share: 0.0 -> 0.5",
        "loss.gaze_prediction: 0.0 -> 0.3",
    ]
    assert differences(paper, load_config("vp_mim_joint")) == ["loss.gaze_prediction: 0.0 -> 0.1"]
    assert not paper.predicts_gaze
    assert load_config("vp_mim").predicts_gaze


def test_without_a_prior_there_is_no_gaze_head_and_no_image_is_preferred():
    assert not load_config("vp_mim", ["prior.source=none"]).predicts_gaze
    assert load_config("vp_mim", ["prior.source=none"]).measured_share == 0
    assert load_config("vp_mim", ["prior.source=shuffled"]).measured_share == 0.5  # a control changes the map alone
    assert [load_config(name).measured_share for name in ("paper/vp_mim", "cxr_mim", "mae")] == [0, 0, 0]
    assert load_config("mae", ["loss.gaze_prediction=0.1"]).predicts_gaze


def test_a_dumped_config_reads_back_equal(tmp_path):
    changed = load_config(
        "vp_mim", ["mask.kappa_end=0.9", "train.max_steps=20", 'model.init="a \\"b\\" \\\\ c"', "seed=3"]
    )
    for config in [Config(), changed, *(load_config(name) for name in METHODS)]:
        path = tmp_path / "config.toml"
        path.write_text(dump_toml(config), encoding="utf-8")
        assert load_config(path) == config


def test_overrides_are_toml_values_and_bare_words_are_strings():
    config = load_config(
        "vp_mim",
        [
            "mask.kind=random",
            'loss.norm="l1"',
            "decoder.taps=[1, 0]",
            "decoder.scales=[2, 1]",
            "train.lr=1e-4",
            "train.warmup_epochs=3",
            "train.max_steps = 20",
            "train.max_steps=none",
            "seed=5",
        ],
    )
    assert config.mask.kind == "random"
    assert config.loss.norm == "l1"
    assert config.decoder.taps == (1, 0)
    assert config.decoder.scales == (2.0, 1.0)
    assert config.train.lr == 1e-4
    assert config.train.warmup_epochs == 3.0
    assert isinstance(config.train.warmup_epochs, float)
    assert config.train.max_steps is None
    assert config.seed == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mask.ration=0.5", "'mask.ratio'"),
        ("maks.ratio=0.5", "'mask.ratio'"),
        ("batch_size=8", "'train.batch_size'"),
        ("train.batchsize=8", "'train.batch_size'"),
        ("gaze_lamda=0", "'loss.gaze_lambda'"),
        ("model=3", "'model' is a section"),
        ("mask.kind=region", 'one of "random", "regions"'),
        ("train.batch_size=many", 'train.batch_size: expected an integer, got "many"'),
        ("train.batch_size=true", "expected an integer, got true"),
        ("train.batch_size=1.5", "expected an integer"),
        ("train.batch_size=0", "expected a positive integer"),
        ("train.lr=nan", "expected a finite number"),
        ("train.lr=none", None),
        ("mask.ratio=1", "strictly between 0 and 1"),
        ("mask.kappa=-0.1", "in [0, 1]"),
        ("data.crop_scale=[0.5]", "a list of 2 numbers"),
        ("data.crop_scale=[0.9, 0.5]", "low <= high"),
        ("decoder.taps=[2, 0]", "one tap a scale"),
        ("decoder.scales=[3, 2, 1, 0.5]", "different values of 4, 2, 1, 0.5"),
        ("decoder.width=90", "multiple of 4 and of decoder.heads"),
        ("target.kind=pixel", "decoder.scales = [1]"),
        ("recalibrate.start=0.5", "start <= full"),
        ("recalibrate.mode=cache", 'one of "none", "decoder"'),
        ("recalibrate.mode=cached", "set recalibrate.features to a file"),
        ("mask.attention=hints", 'one of "high", "low", "hint"'),
        ("mask.hint=0.2", "hint <= hint_from"),
        ("mask.hard_end=1.5", "mask.hard_end: expected a share"),
        ("mask.block=0", "a positive number of pixels"),
        ("decoder.depth=0", 'set mask.tokens = "replace"'),
        ("train.ema=2", "train.ema: expected a share"),
        ("seed=-1", "[0, 2^31)"),
        ("model.encoder=3", "expected a string"),
        ("nothing", "expected key=value"),
        ("seed=1\nmodel.depth=2", "expected an integer"),
    ],
)
def test_a_wrong_override_names_key_and_expectation(override, message):
    if message is None:
        assert load_config("vp_mim", [override]).train.lr is None
        return
    with pytest.raises(ConfigError) as caught:
        load_config("vp_mim", [override])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[mask]\nration = 0.5\n", "'mask.ratio'"),
        ("[masks]\nratio = 0.5\n", "there are seed and the sections model"),
        ("mask = 3\n", "expected a section [mask]"),
        ("seed = [1\n", "not TOML"),
        ("extends = 3\n", "extends: expected the name"),
        ('extends = "vpmim"\n', "did you mean 'vp_mim'"),
        ('extends = "self.toml"\n', "circle"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path, text, message):
    path = tmp_path / "self.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_config(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"seed = 1\n\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 9"):
        load_config(path)


def test_a_name_cannot_leave_the_config_folder(tmp_path, monkeypatch):
    inside = tmp_path / "configs"
    inside.mkdir()
    (tmp_path / "outside.toml").write_text("seed = 1\n")
    monkeypatch.setattr("vpmim.config.config_folders", lambda: (inside,))
    with pytest.raises(ConfigError, match="no configuration is named"):
        load_config("../outside")


def test_base_lr_is_for_256_images_and_lr_overrides_it():
    assert load_config("vp_mim").learning_rate == pytest.approx(1.5e-3)  # 3e-3 * 128 / 256
    assert load_config("vp_mim", ["train.lr=1e-4"]).learning_rate == 1e-4


def test_gaze_is_used_exactly_by_the_methods_that_need_it():
    used = {name: load_config(name).uses_gaze for name in METHODS}
    assert used == {
        "attmask": False,
        "cxr_mim": True,
        "demo": True,
        "hpm": False,
        "localmim": False,
        "mae": False,
        "medical_mae": False,
        "simmim": False,
        "vp_mim": True,
        "vp_mim_joint": True,
    }
    assert not load_config("vp_mim", ["prior.source=none"]).uses_gaze
    assert load_config("mae", ["loss.gaze_prediction=0.1"]).uses_gaze


def test_a_teacher_is_kept_exactly_by_the_methods_that_look_through_one():
    assert {name for name in METHODS if load_config(name).uses_teacher} == {"attmask", "hpm"}
    assert load_config("vp_mim", ["recalibrate.mode=ema"]).uses_teacher
    assert not load_config("vp_mim", ["recalibrate.mode=ema", "prior.source=none"]).uses_teacher


def test_a_method_whose_parts_contradict_each_other_is_refused():
    with pytest.raises(ConfigError, match=r"put 1 into decoder\.scales"):
        load_config("localmim", ["mask.kind=hard", "decoder.taps=[0]", "decoder.scales=[2]"])


def test_sections_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().mask.ratio = 0.5
    assert dataclasses.replace(Config(), mask=MaskConfig(ratio=0.6)).mask.ratio == 0.6


def test_differences_name_key_old_and_new():
    assert differences(Config(), load_config("vp_mim", ["train.lr=0.1"])) == ['train.lr: "none" -> 0.1']


def test_a_tree_without_keys_is_vp_mim():
    assert config_from_tree({}) == Config()

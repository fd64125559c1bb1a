"""Stages and images of a conversion: the right images, the right network, nothing measured on what it was tuned with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.cli import options as cli_options
from rmp_lava.conversion import pipeline
from rmp_lava.conversion.conversion import Conversion, Measurement, with_measurement
from rmp_lava.conversion.divergence import TrainedOutputs
from rmp_lava.conversion.pipeline import converting, tuning
from rmp_lava.conversion.quantization import Quantization
from rmp_lava.conversion.stages import Stage, Stages
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.truth import truth_of
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError, DataError, ProfileError, RangeOverflowError, UsageError
from rmp_lava.hardware.demand import weight_bits
from rmp_lava.netx import save
from rmp_lava.scores import Score
from rmp_lava.sources import images as samples
from rmp_lava.sources.images import ImageSplit, from_dataset, load_images
from rmp_lava.training.data import Dataset

CLASSES = 4


def labelled(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightest quarter is their class, sorted by class."""
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, CLASSES, count))
    images = random.random((count, 1, 4, 4), dtype=np.float32) * 0.5
    for image, label in zip(images, labels, strict=True):
        image[0, 2 * (label // 2) : 2 * (label // 2) + 2, 2 * (label % 2) : 2 * (label % 2) + 2] += 0.5
    return images, labels.astype(np.int64)


def dataset(as_bytes: bool = False) -> Dataset:
    (images, labels), (test_images, test_labels) = labelled(400), labelled(20, 1)
    if as_bytes:
        images, test_images = ((a * 255).astype(np.uint8) for a in (images, test_images))
    return Dataset("quarters", images, labels, test_images, test_labels, ("a", "b", "c", "d"), "made here")


def calibration_images() -> np.ndarray:
    return from_dataset(dataset()).calibration(None, seed=0)[0]


def exact() -> nn.Module:
    """A network that knows the classes without training."""
    model = nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))
    with torch.no_grad():
        model[0].weight.fill_(0.25)
        model[0].bias.fill_(-0.3)
        model[4].weight.zero_()
        for label in range(4):
            model[4].weight[label, label::4] = 1.0
        model[4].bias.copy_(torch.tensor([0.0, 0.01, 0.02, 0.03]))
    return model.eval()


def described(split: ImageSplit) -> dict[str, Any]:
    names = ("class_names", "dataset", "validation_fraction", "provenance")
    return {name: getattr(split, name) for name in names}


def convert(model: nn.Module, split: ImageSplit, **options) -> Conversion:
    """As the command `convert` does it."""
    images, labels = split.calibration(None, seed=0)
    return pipeline.convert(
        model, images, labels=labels, shuffle=False, classes=split.classes, **described(split), **options
    )


def tune(model: nn.Module, split: ImageSplit, **options) -> Conversion:
    """As the command `tune` does it."""
    held_out = split.validation(None, seed=0)
    return pipeline.tune(
        model, split.train_images, split.train_labels, validation=held_out, **described(split), **options
    )


def _never_balance(monkeypatch) -> None:
    """Neither pipeline gets as far as balancing."""
    for module in (converting, tuning):
        monkeypatch.setattr(module, "balance_best", lambda *_, **__: pytest.fail("balanced"))


def accuracy(model, images: np.ndarray, labels: np.ndarray) -> float:
    """Of the trained network itself."""
    return truth_of(model, None, images, labels, (CLASSES,)).trained_score.accuracy


def measure(conversion: Conversion, split: ImageSplit, **options) -> Measurement:
    return conversion.measure(*split.validation(None, seed=0), **options)


@pytest.mark.slow
def test_fewer_weight_bits_are_in_the_integers_and_cost_accuracy_in_the_stages():
    split, model = from_dataset(dataset()), dense()
    first, second = (layer.name for layer in convert(model, split, steps=4).integer)
    found = {}
    for bits in (None, 2, {second: 2}):
        conversion = convert(model, split, steps=4, quantization=Quantization(weight_bits=bits))
        found[str(bits)] = [weight_bits(layer.synapses[0].weight, 8) for layer in conversion.integer]
        stages = measure(conversion, split).stages
        labels = split.validation(None, seed=0)[1]
        result = rmp_lava.run(conversion.integer, split.validation(None, seed=0)[0], 4)
        assert stages[-1].score.accuracy == result.accuracy(labels)
    assert list(found.values()) == [[8, 8], [2, 2], [8, 2]]


@pytest.mark.parametrize("method", [convert, tune])
def test_bits_of_a_layer_that_is_not_there_are_refused_before_any_work(method, monkeypatch):
    _never_balance(monkeypatch)
    with pytest.raises(UsageError, match="weight_bits has layer 'first', which the network has not; it has 1, 3"):
        method(dense(), from_dataset(dataset()), steps=4, quantization=Quantization(weight_bits={"first": 4}))


@pytest.mark.parametrize(
    "given, found",
    [
        (None, None),
        ([], None),
        (["4"], 4),
        (["a=4"], {"a": 4}),
        (["a=4", "b=c=3"], {"a": 4, "b=c": 3}),
    ],
)
def test_bits_of_all_layers_or_of_some(given, found):
    assert cli_options.weight_bits(given) == found


@pytest.mark.parametrize("given", [["four"], ["4", "a=3"], ["=4"], ["a=-4"], ["a="]])
def test_bits_that_are_no_numbers(given):
    with pytest.raises(UsageError, match="--weight-bits is .*; give a number for all layers once, or LAYER=BITS"):
        cli_options.weight_bits(given)


@pytest.mark.parametrize("with_labels", [True, False])
def test_strict_finds_what_saturates_with_labels_and_without(with_labels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad():
        model[1].weight.fill_(0.1)
        model[1].weight[3].fill_(-1.0)  # whose potential falls without end
    split = from_dataset(dataset())
    if not with_labels:
        split = replace(split, train_labels=None, validation_labels=None)
    conversion = convert(model.eval(), split, steps=32)
    with pytest.raises(RangeOverflowError, match="saturated its 24-bit membrane potential"):
        measure(conversion, split, strict=True)
    assert measure(conversion, split).layer_fidelity


@pytest.mark.parametrize("as_bytes", [False, True])
def test_stages_of_a_network_that_loses_nothing(as_bytes):
    data = dataset(as_bytes)
    model = exact()
    conversion = convert(model, from_dataset(data), steps=32, name="quarters")
    measured = measure(conversion, from_dataset(data))
    assert [stage.name for stage in measured.stages] == [
        "trained ANN",
        "folded",
        "clipped",
        "float SNN",
        "integer SNN",
    ]
    assert all(stage.images == 40 and stage.score.accuracy == 1.0 for stage in measured.stages)
    assert str(measured.stages).splitlines()[0] == "trained ANN  100.00 % of 40 images"
    assert [each.layer for each in measured.layer_fidelity] == [layer.name for layer in conversion.integer]
    assert all(each.correlation > 0.98 for each in measured.layer_fidelity)
    provenance = with_measurement(conversion.integer, measured).provenance
    assert provenance["dataset"] == "quarters" and provenance["method"] == "low-latency"
    assert provenance["stages"] == measured.summary()["stages"] and len(provenance["layer_fidelity"]) == 2
    assert provenance["balance"]["images"] == 360 and conversion.integer.class_names == ("a", "b", "c", "d")


@pytest.mark.slow
def test_each_stage_measures_its_own_network(monkeypatch):
    """A float network whose read-out is turned over shows in its stage, and in no stage before it."""

    def turned(network, *arguments, **options):
        result = real(network, *arguments, **options)
        last = result.layers[-1]
        synapses = tuple(s.replace(weight=-s.weight) for s in last.synapses)
        return result.replace(layers=(*result.layers[:-1], last.replace(synapses=synapses)))

    real = converting.balance_best
    monkeypatch.setattr(converting, "balance_best", turned)
    measured = measure(convert(exact(), from_dataset(dataset()), steps=32), from_dataset(dataset()))
    accuracies = {stage.name: stage.score.accuracy for stage in measured.stages}
    assert accuracies["trained ANN"] == accuracies["folded"] == accuracies["clipped"] == 1.0
    assert accuracies["float SNN"] < 0.5 and accuracies["integer SNN"] < 0.5
    assert measured.layer_fidelity[0].correlation > 0.98 and measured.layer_fidelity[1].correlation < 0
    assert measured.summary()["first_loss"].startswith("The loss begins at layer '4'")


def test_losses_are_reported_even_if_they_begin_in_no_layer():
    measured = measure(convert(exact(), from_dataset(dataset()), steps=32), from_dataset(dataset()))
    assert measured.loss.startswith("No accuracy is lost: the lowest correlation over images is")
    last = Stage("integer SNN", 40, Score("classification", measured.stages[0].score.accuracy - 0.004))
    assert replace(measured, stages=Stages((*measured.stages[:-1], last))).loss.startswith(
        "0.4 points are lost on these images; no"
    )
    last = Stage("integer SNN", 40, Score("classification", measured.stages[0].score.accuracy - 0.08))
    lossy = replace(measured, stages=Stages((*measured.stages[:-1], last)))
    assert lossy.loss.startswith("8.0 points are lost on these images, but not on the calibration images")


def test_options_of_the_method_can_be_changed_one_by_one():
    split = from_dataset(dataset())
    paper = convert(exact(), split, steps=8, method="paper").floating
    assert paper.input.encoding == "poisson" and paper.provenance["balance"]["thresholds"] == "v_in"
    mixed = convert(exact(), split, steps=8, method="paper", encoding="rate", v_init="half", percentile=99.0).floating
    assert mixed.input.encoding == "rate"
    assert mixed.provenance["balance"] == paper.provenance["balance"] | {"v_init": "half", "percentile": 99.0}
    with pytest.raises(UsageError, match="percentile is given"):
        convert(exact(), split, steps=8, percentile=99.0)
    assert convert(exact(), split, steps=8, percentile=99.0, thresholds="activation").steps == 8


def test_calibration_images_are_mixed_training_images_and_come_with_the_seed():
    data = dataset()
    split = from_dataset(data)
    chosen, truth = split.calibration(40, seed=0)
    of_training = {image.tobytes(): label for image, label in zip(data.train_images, data.train_labels, strict=True)}
    held_out = {image.tobytes() for image in split.validation_images}
    assert all(image.tobytes() in of_training and image.tobytes() not in held_out for image in chosen)
    assert [of_training[image.tobytes()] for image in chosen] == truth.tolist() and set(truth) == {0, 1, 2, 3}
    assert np.array_equal(chosen, split.calibration(40, seed=0)[0])
    assert not np.array_equal(chosen, split.calibration(40, seed=1)[0])
    images, labels = split.validation(10, seed=0)
    assert all(image.tobytes() in held_out for image in images)
    assert [of_training[image.tobytes()] for image in images] == labels.tolist()


@pytest.mark.parametrize("what", ["accuracy", "outputs"])
@pytest.mark.slow
def test_thresholds_are_searched_with_the_calibration_images(what):
    split = from_dataset(dataset())
    options = {"steps": 4, "thresholds": "activation", "alpha": 6.0, "search": what}
    conversion = convert(exact(), split, **options)
    record = conversion.integer.provenance["search"]
    assert record["objective"] == what and record["images"] == (360 if what == "accuracy" else 256)
    gained = record["after"] - record["before"]
    assert gained > 0.05 if what == "accuracy" else gained < -0.3 * record["before"]
    assert conversion.floating.layers[0].record["alpha"] < 6.0
    assert "search" not in convert(exact(), split, steps=4).integer.provenance
    unlabelled = replace(split, train_labels=None)
    if what == "accuracy":
        with pytest.raises(UsageError, match="needs labels of the images; give them, or search for outputs"):
            convert(exact(), unlabelled, **options)
    else:
        assert convert(exact(), unlabelled, **options).integer.provenance["search"] == record


@pytest.mark.slow
def test_a_search_may_follow_a_tuning_and_compares_with_the_network_before_it():
    options = {"steps": 2, "epochs": 1, "batch_size": 64, "learning_rate": 1e-9}
    searched = tune(exact(), from_dataset(dataset()), search="outputs", **options)
    plain = tune(exact(), from_dataset(dataset()), **options)
    record = searched.integer.provenance["search"]
    trained = TrainedOutputs(
        trace(exact(), make_input("current", (1, 4, 4)), calibration_images()), calibration_images()
    )
    assert record["before"] == pytest.approx(trained.divergence(plain.integer, 2), rel=1e-4)
    assert record["after"] == pytest.approx(trained.divergence(searched.integer, 2), rel=1e-4)
    assert record["after"] < record["before"] and "search" not in plain.integer.provenance


def test_a_search_for_something_else_is_refused():
    with pytest.raises(UsageError, match="search is 'alpha'; choose one of accuracy, outputs"):
        convert(exact(), from_dataset(dataset()), steps=4, search="alpha")


@pytest.mark.parametrize("count", [0, 361, -1])
def test_more_calibration_images_than_there_are(count):
    with pytest.raises(UsageError, match="allowed are 1..360"):
        from_dataset(dataset()).calibration(count, seed=0)


def test_bytes_are_values_in_the_unit_interval():
    split = from_dataset(dataset(as_bytes=True))
    values, _ = split.calibration(None, seed=0)
    assert values.dtype == np.float32 and 0.4 < values.max() <= 1


def test_a_model_in_half_precision_or_for_one_image_or_in_training_mode_is_measured_as_it_is():
    images, labels = labelled(30)
    model = exact().bfloat16().train()
    assert accuracy(model, images, labels) == 1.0
    program = torch.export.export(exact(), (torch.rand(7, 1, 4, 4),), strict=False)
    assert accuracy(program, images, labels) == 1.0  # 30 is no multiple of 7


@pytest.mark.parametrize("most", [16, None])
def test_a_program_for_a_range_of_batch_sizes_is_measured_in_such(most):
    images, labels = labelled(30)
    size = torch.export.Dim("n", min=2, max=most)
    program = torch.export.export(exact(), (torch.rand(7, 1, 4, 4),), dynamic_shapes=({0: size},), strict=False)
    for count in (30, 17):  # 17 leaves one image over, fewer than the program takes
        assert accuracy(program, images[-count:], labels[-count:]) == 1.0


def test_outputs_that_are_images_of_one_pixel_are_measured():
    images, labels = labelled(30)
    assert accuracy(nn.Sequential(exact(), nn.Unflatten(1, (4, 1, 1))), images, labels) == 1.0


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3, 4)),
            r"fails on images of shape \(1, 4, 4\) \(.*\); pass images like those",
        ),
        (
            nn.Sequential(nn.Flatten(0), nn.Linear(16, 4)),
            r"fails on 30 images at once \(.*\); it has to take any number of them",
        ),
    ],
)
def test_a_trained_network_that_fails_is_one_sentence(network, words):
    with pytest.raises(ConversionError, match=f"the trained network {words}"):
        accuracy(network, *labelled(30))


def test_a_missing_profile_is_found_before_anything_is_balanced(monkeypatch):
    _never_balance(monkeypatch)
    for pass_ in (convert, tune):
        with pytest.raises(ProfileError, match="'loihi9' is unknown"):
            pass_(exact(), from_dataset(dataset()), steps=4, quantization=Quantization(profile="loihi9"))


def dense() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8, bias=False), nn.ReLU(), nn.Linear(8, 4, bias=False)).eval()


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        (convert, {}, "v_init is not 0"),
        (convert, {"v_init": "zero"}, "has a bias"),
        (convert, {"method": "paper", "pooling": "layer", "encoding": "rate"}, "use another encoding"),
        (tune, {}, "v_init is not 0"),
    ],
)
def test_what_lava_dl_cannot_run_is_refused_before_anything_is_balanced(monkeypatch, method, options, words):
    _never_balance(monkeypatch)
    with pytest.raises(ConversionError, match=f"cannot run in lava-dl's loader: .*{words}"):
        method(dense(), from_dataset(dataset()), steps=4, quantization=Quantization(for_lava_dl=True), **options)


@pytest.mark.parametrize(
    "options", [{"reset": "hard"}, {"quantization": Quantization("loihi2", "dense_rec", for_lava_dl=True)}]
)
def test_what_lava_dl_can_run_is_not_refused(tmp_path, options):
    options = {"quantization": Quantization(for_lava_dl=True)} | options
    conversion = convert(dense(), from_dataset(dataset()), steps=4, method="paper", encoding="current", **options)
    save(conversion.integer, tmp_path / "a.net", for_lava_dl=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"device": "cuda:7"}, "device 'cuda:7'"),
        ({"precision": "float16"}, "precision is 'float16'"),
        (
            {"resume": True, "checkpoint_path": Path("missing.pt")},
            "missing.pt does not exist, so there is nothing to resume",
        ),
    ],
)
def test_settings_of_a_tuning_are_checked_before_anything_is_balanced(monkeypatch, settings, words):
    _never_balance(monkeypatch)
    with pytest.raises(UsageError, match=words):
        tune(exact(), from_dataset(dataset()), steps=4, **settings)


@pytest.mark.slow
def test_tuning_is_measured_and_recorded():
    records = []
    split = from_dataset(dataset())
    conversion = tune(exact(), split, steps=4, epochs=2, batch_size=64, on_epoch=records.append)
    measured = measure(conversion, split)
    assert [stage.name for stage in measured.stages] == [
        "trained ANN",
        "clipped, tuned",
        "float SNN, tuned",
        "integer SNN, tuned",
    ]
    assert conversion.tuning == tuple(records) and len(records) == 2
    assert measured.stages[-1].score.accuracy >= 0.95
    assert conversion.integer.provenance["balance"]["thresholds"] == "tuned"
    assert all(layer.neurons.v_init > 0 for layer in conversion.floating.layers[:-1])


# Images of the user's own


def saved(folder, images, labels=None):
    np.save(folder / "x.npy", images)
    if labels is None:
        return folder / "x.npy", None
    np.save(folder / "y.npy", labels)
    return folder / "x.npy", folder / "y.npy"


def test_own_images_are_divided_and_keep_their_labels(tmp_path):
    images, labels = labelled(50)
    split = load_images(None, None, *saved(tmp_path, images, labels), (1, 4, 4))
    assert len(split.train_images) == 45 and len(split.validation_images) == 5
    of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for part, truth in (
        (split.train_images, split.train_labels),
        (split.validation_images, split.validation_labels),
    ):
        assert [of[image.tobytes()] for image in part] == truth.tolist()
    assert len({i.tobytes() for i in split.train_images} | {i.tobytes() for i in split.validation_images}) == 50


def test_own_events_keep_their_time_steps(tmp_path):
    events = np.random.default_rng(0).integers(0, 3, (20, 5, 2, 3, 3)).astype(np.uint8)
    np.save(tmp_path / "events.npy", events)
    split = load_images(None, None, tmp_path / "events.npy", None, (2, 3, 3), takes_events=True)
    assert split.takes_events and split.shape == (2, 3, 3)
    some, held_out = split.calibration(None, 0)[0], split.validation(None, 0)[0]
    assert some.dtype == held_out.dtype == np.int8 and some.shape[1:] == events.shape[1:]
    assert {each.tobytes() for each in (*some, *held_out)} == {each.tobytes() for each in events}
    with pytest.raises(DataError, match=r"events have values in \[0, 200\]"):
        np.save(tmp_path / "events.npy", events * 100)
        load_images(None, None, tmp_path / "events.npy", None, (2, 3, 3), takes_events=True)


def test_what_pixels_are_for_the_network_is_written_as_numbers():
    assert cli_options.preparation(None, None, None) == {}
    found = cli_options.preparation("-1,1", "0.5", "0.5,0.4,0.3")
    assert found == {"input_range": (-1, 1), "mean": (0.5,), "std": (0.5, 0.4, 0.3)}
    with pytest.raises(UsageError, match="--input-range is '1'; give two numbers, such as -1,1"):
        cli_options.preparation("1", None, None)
    with pytest.raises(UsageError, match="--mean is 'a,b'; write numbers with commas between them"):
        cli_options.preparation(None, "a,b", None)


def test_own_images_without_labels_are_compared_with_the_trained_network(tmp_path):
    split = load_images(None, None, *saved(tmp_path, labelled(50)[0]), None)
    conversion = convert(exact(), split, steps=8)
    measured = measure(conversion, split)
    assert len(measured.layer_fidelity) == 2 and conversion.integer.class_names == ()
    scores = [stage.score for stage in measured.stages]
    assert len(scores) == 5 and {each.kind for each in scores} == {"agreement"}
    assert scores[0] == Score("agreement", 1.0, None, 0.0, pytest.approx(1.0))
    assert all(each.accuracy == 1.0 and 0 <= each.error < 0.2 and each.correlation > 0.98 for each in scores)
    assert scores[4].error > 1e-4  # 8 steps are not exact


@pytest.mark.parametrize(
    "images, labels, found",
    [
        (np.zeros((9, 1, 4, 4)), np.zeros(8, int), "one label per image"),
        (np.zeros((9, 1, 4, 4)), np.zeros((8, 4, 4), int), "one label per image"),
        (np.zeros((9, 1, 4, 4)), np.full(9, "a"), "have dtype <U1; give integers for classes, or floats"),
        (np.zeros((9, 1, 4, 4)), np.full(9, np.inf), "contain NaN or infinity"),
        (np.zeros((9, 1, 4, 4)), np.full(9, -1), "not all integers"),
        (np.zeros((1, 1, 4, 4)), None, "holds 1 image"),
        (np.zeros((9, 1, 5, 5)), None, "images have shape (9, 1, 5, 5)"),
        (np.full((9, 1, 4, 4), 255.0), None, "divide 8-bit pixels by 255"),
        (np.full((9, 1, 4, 4), np.nan), None, "NaN"),
    ],
)
def test_invalid_images_of_the_user(tmp_path, images, labels, found):
    with pytest.raises(DataError) as error:
        load_images(None, None, *saved(tmp_path, images, labels), (1, 4, 4))
    assert found in str(error.value)


def test_labels_beyond_the_outputs_are_refused(tmp_path):
    images, labels = labelled(50)
    split = load_images(None, None, *saved(tmp_path, images, labels + 1), None)
    with pytest.raises(DataError, match="labels run from 1 to 4; count classes from 0"):
        convert(exact(), split, steps=4)
    # Among the held-out images too.
    split = load_images(None, None, *saved(tmp_path, images, labels), None)
    split.validation_labels[0] = 4
    with pytest.raises(DataError, match="5 classes, but network 'network' has 4 outputs"):
        convert(exact(), split, steps=4)


@pytest.mark.parametrize(
    "labels, found",
    [
        (np.full(50, "a"), "have dtype <U1"),
        (np.full(50, np.nan), "contain NaN"),
        (np.full(50, -1), "are not all integers from 0"),
        (
            np.zeros(50) + 0.5,
            r"floats of shape \(50,\), but network 'network' has outputs of shape \(4,\): give integers of",
        ),
        (
            np.zeros((50, 4, 4), int),
            r"integers of shape \(50, 4, 4\), but .* integers of shape \(50,\) for the class of each",
        ),
    ],
)
def test_invalid_labels_are_refused_where_a_network_runs(tmp_path, labels, found):
    network = trace(exact(), make_input("current", (1, 4, 4)))
    with pytest.raises(DataError, match=found):
        samples.images_for(network, None, None, *saved(tmp_path, labelled(50)[0], labels), None)


def test_a_damaged_header_is_refused_in_a_sentence(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"}", b"(", 1))  # NumPy's parser raises a TokenError
    with pytest.raises(DataError, match="x.npy is not a readable .npy file"):
        samples.load_array(tmp_path / "x.npy")


def test_a_data_set_of_other_classes_is_refused():
    data = dataset()
    split = ImageSplit(**vars(from_dataset(data)) | {"class_names": ("a", "b", "c", "d", "e")})
    with pytest.raises(DataError, match="5 classes"):
        convert(exact(), split, steps=4)


def test_a_data_set_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr(samples, "load", lambda name, directory, steps: dataset())
    with pytest.raises(DataError, match=r"images of shape \(1, 4, 4\), but the network takes \(3, 4, 4\)"):
        load_images("quarters", None, None, None, (3, 4, 4))


@pytest.mark.slow
def test_some_of_a_sorted_data_sets_test_images_are_of_all_classes_and_keep_their_labels(monkeypatch):
    data = dataset(as_bytes=True)
    monkeypatch.setattr(samples, "load", lambda name, directory, steps: data)
    network = convert(exact(), from_dataset(data), steps=2).integer
    images, labels, what = samples.images_for(network, None, None, None, None, 12)
    assert what == "12 of 20 test images of quarters, drawn at random" and set(labels) == {0, 1, 2, 3}
    by_image = {(i / np.float32(255)).tobytes(): n for i, n in zip(data.test_images, data.test_labels, strict=True)}
    assert [by_image[image.tobytes()] for image in images] == labels.tolist()
    everything, _, what = samples.images_for(network, None, None, None, None, 500)
    assert len(everything) == 20 and what == "all 20 test images of quarters"

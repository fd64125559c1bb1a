"""Fashion-MNIST at full size: trained, converted, quantised. Minutes, so once per run of the suite."""

import pytest

import rmp_lava
from rmp_lava.ann.data import load as load_data
from rmp_lava.ann.train import evaluate, train
from rmp_lava.errors import DataError

STEPS = 128
IMAGES = 1000


@pytest.mark.slow
def test_fashion_mnist_is_learned_and_kept_in_integers(tmp_path):
    try:
        dataset = load_data("fashion-mnist")
    except DataError as error:
        pytest.skip(f"needs the data set: {error}")
    trained = train("fashion-cnn", dataset, seed=0, progress=False)
    assert trained.test_accuracy >= 0.90
    calibration = dataset.train_images[:128]
    # Half the threshold to start with: without it every neuron is half a spike short, layer after layer.
    network = rmp_lava.convert(trained.model, calibration, steps=64, encoding="rate", percentile=99.9, v_init="half")
    path = rmp_lava.save(rmp_lava.quantize(network), tmp_path / "fashion.net")
    images, labels = dataset.test_images[:IMAGES], dataset.test_labels[:IMAGES]
    result = rmp_lava.run(rmp_lava.load(path), images, STEPS)
    assert result.accuracy(labels) >= evaluate(trained.model, images, labels) - 0.01

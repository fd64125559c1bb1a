"""Fashion-MNIST at full size: trained, converted, quantised. Minutes, so once per run of the suite."""

import pytest

import rmp_lava
from rmp_lava.errors import DataError
from rmp_lava.training.data import load as load_data
from rmp_lava.training.loop import evaluate
from rmp_lava.training.train import train

IMAGES = 1000


@pytest.mark.slow
def test_fashion_mnist_is_learned_and_kept_in_integers(tmp_path):
    try:
        dataset = load_data("fashion-mnist")
    except DataError as error:
        pytest.skip(f"needs the data set: {error}")
    # A third of the recipe's epochs, for time.
    trained = train("fashion-cnn", dataset, seed=0, epochs=5, progress=False)
    assert trained.test_accuracy >= 0.88
    images, labels = dataset.test_images[:IMAGES], dataset.test_labels[:IMAGES]
    analog = evaluate(trained.model, images, labels)
    calibration = dataset.train_images[:128]
    # Half the threshold to start with: without it every neuron is half a spike short, layer after layer.
    paper = {"method": "paper", "encoding": "rate", "percentile": 99.9, "v_init": "half"}
    for steps, options, most_lost in ((128, paper, 0.01), (16, {"method": "low-latency"}, 0.015)):
        network = rmp_lava.convert(trained.model, calibration, steps=min(steps, 64), **options).integer
        path = rmp_lava.save(network, tmp_path / "fashion.net")
        result = rmp_lava.run(rmp_lava.load(path), images, steps)
        assert result.accuracy(labels) >= analog - most_lost, options

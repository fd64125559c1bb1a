"""Measure the networks of `zoo.json`, and write the figures into it.

python exports/reference/measure.py --data cifar10=cifar10_jpeg.zip            all of them
python exports/reference/measure.py fashion-lenet                              one

Accuracies are those of all test images. The digits take seconds, VGG-16 and ResNet-20 several minutes each.
"""

import argparse
import json
from pathlib import Path

import torch

import rmp_lava
from rmp_lava.files import sha256_of, write_atomically
from rmp_lava.schedule import schedule
from rmp_lava.training.data import Dataset, as_float, load

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "zoo.json"
BOARD = "oheo_gulch"
BATCH = 500


def measured(file: Path, trained_file: Path, data: Dataset) -> dict[str, object]:
    """The figures of one network, as `rmp_lava.zoo.Entry` names them."""
    network, model = rmp_lava.load(file), rmp_lava.load_trained(str(trained_file)).model
    images, labels = as_float(data.test_images), data.test_labels
    with torch.no_grad():
        outputs = [model(torch.from_numpy(images[at : at + BATCH])) for at in range(0, len(images), BATCH)]
    trained = torch.cat(outputs).argmax(1).numpy() == labels
    steps = network.balanced_steps
    run = rmp_lava.run(network, images, steps, progress=True)
    mapping = rmp_lava.map_network(network, BOARD)
    energy = rmp_lava.estimate(network, run, BOARD, mapping).dynamic_between
    return {
        "data": data.source,
        "images": len(images),
        "accuracy": round(run.accuracy(labels), 6),
        "trained_accuracy": round(float(trained.mean()), 6),
        "steps": steps,
        "wait": network.wait,
        "latency": schedule(network, steps).latency,
        "neurons": network.neuron_count,
        "weights": network.parameter_count,
        "board": BOARD,
        "cores": mapping.summary()["cores"],
        "fits": mapping.fits,
        "energy": [float(f"{each:.4g}") for each in (energy.low, energy.value, energy.high)],
        "sha256": sha256_of(file),
        "trained_sha256": sha256_of(trained_file),
    }


def main() -> None:
    """Measure the networks that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help="all if omitted")
    parser.add_argument("--data", action="append", default=[], metavar="DATASET=PATH")
    arguments = parser.parse_args()
    places = dict(each.split("=", 1) for each in arguments.data)
    content = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    for name in arguments.names or content["networks"]:
        entry = content["networks"][name]
        data = load(entry["dataset"], places.get(entry["dataset"]))
        entry["measured"] = measured(FOLDER / f"{name}.net", FOLDER / entry["trained_file"], data)
        print(name, entry["measured"], flush=True)
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(CATALOGUE, text.encode("utf-8"))


if __name__ == "__main__":
    main()

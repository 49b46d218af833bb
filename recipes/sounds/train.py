"""Train on any sounds: `python recipes/sounds/train.py hparams/mfcc.yaml --manifest my.csv`."""

from pathlib import Path

from toolkit.cli.runs import train

if __name__ == "__main__":
    train.main(prog_name="train.py", obj=Path(__file__).parent)

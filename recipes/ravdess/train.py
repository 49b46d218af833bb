"""Train one system on one fold of RAVDESS: `python recipes/ravdess/train.py hparams/mfcc.yaml`."""

from pathlib import Path

from toolkit.cli.runs import train

if __name__ == "__main__":
    train.main(prog_name="train.py", obj=Path(__file__).parent)

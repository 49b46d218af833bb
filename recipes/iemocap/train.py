"""Train one system on one fold of IEMOCAP: `python recipes/iemocap/train.py hparams/mtl_cr.yaml`."""

from pathlib import Path

from toolkit.cli.runs import train

if __name__ == "__main__":
    train.main(prog_name="train.py", obj=Path(__file__).parent)

"""Train on any speech: `python recipes/speech/train.py hparams/whisper.yaml --manifest my.csv`."""

from pathlib import Path

from toolkit.cli.runs import train

if __name__ == "__main__":
    train.main(prog_name="train.py", obj=Path(__file__).parent)

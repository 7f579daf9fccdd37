"""Train, test and report: python train.py [group=option ...] [key=value ...] or [sweeps=table ...]"""

from facegraph.cli.train import main

if __name__ == "__main__":
    main()

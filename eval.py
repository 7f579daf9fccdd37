"""Score a finished run: python eval.py run=<output folder> [dataset=... dataset.root=...] [checkpoint=last|best]"""

from facegraph.cli.eval import main

if __name__ == "__main__":
    main()

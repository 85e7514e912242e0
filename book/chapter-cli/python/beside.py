"""What the chapters' comparisons with PyTorch share: sides that take turns, and a recording in the format of the
Rust benchmarks (book/chapter-cli/src/recording.rs), which says where and with what it was measured.

A turn is a number of calls in a row, of which the median counts: our program is started anew for each turn. Of the
turns, median and quartiles are kept.
"""

import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).parents[3]
# With --quick, a few: to see that a comparison runs.
TURNS = 3 if "--quick" in sys.argv else 15
COLUMNS = "case,n,median,low,high,calls,faults"


class Ours:
    """Our `forward` on a file of tensors. A call is a turn: it gives the median time of its calls in milliseconds."""

    def __init__(self, program, folder, tensors, flags, calls):
        self.out = folder / "out.safetensors"
        given = folder / "in.safetensors"
        save_file(tensors, given)
        self.command = [program, "forward", "--input", given, "--output", self.out, "--repeat", str(calls), *flags]

    def __call__(self):
        printed = subprocess.run(self.command, capture_output=True, text=True, check=True).stdout
        return float(re.search(r"median ([\d.]+) ms", printed)[1])

    def tensors(self):
        """What the last turn has left behind."""
        return load_file(self.out)


class Beside:
    """A comparison of the program of a chapter with PyTorch, whose script lies in the chapter's `benches`."""

    def __init__(self, script, crate):
        self.benches = pathlib.Path(script).parent
        subprocess.run(["cargo", "build", "--release", "--quiet", "-p", crate], cwd=ROOT, check=True)
        self.program = ROOT / "target/release" / crate
        self.folder = tempfile.TemporaryDirectory()
        self.rows = []
        torch.manual_seed(0)
        torch.set_num_threads(2)
        print(f"{'milliseconds':<24} {'n':>6} {'quarter':>9} {'median':>9} {'3/4':>9} {'ours over it':>13}")

    def ours(self, tensors, *flags, calls):
        """Our side on these tensors."""
        return Ours(self.program, pathlib.Path(self.folder.name), tensors, flags, calls)

    def theirs(self, run, calls):
        """The other side: a turn of so many calls of `run`."""

        def turn():
            times = []
            for _ in range(calls):
                start = time.perf_counter()
                run()
                times.append((time.perf_counter() - start) * 1e3)
            return statistics.median(times)

        return turn

    def take_turns(self, n, sides):
        """Lets the sides, by name, take turns, and keeps what they took. The first is ours."""
        times = {name: [] for name in sides}
        for turn in range(TURNS + 1):
            for name, side in sides.items():
                taken = side()
                # The first turn meets everything for the first time.
                if turn > 0:
                    times[name].append(taken)
        ours = statistics.median(next(iter(times.values())))
        for name, taken in times.items():
            taken.sort()
            low, median, high = (taken[(quarter * (TURNS - 1) + 2) // 4] for quarter in (1, 2, 3))
            print(f"{name:<24} {n:>6} {low:>9.4f} {median:>9.4f} {high:>9.4f} {ours / median:>13.2f}", flush=True)
            self.rows.append(f"{name},{n},{median:.4f},{low:.4f},{high:.4f},{TURNS},")

    def finish(self):
        """If the command line has `--record`, writes benches/pytorch.csv."""
        self.folder.cleanup()
        if "--record" not in sys.argv:
            return
        machine = ["cargo", "bench", "--quiet", "-p", "chapter-cli", "--bench", "machine"]
        conditions = subprocess.run(machine, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        version = torch.__version__.partition("+")[0]
        conditions += f"# PyTorch: {version} ({torch.backends.cpu.get_cpu_capability()})\n"
        path = self.benches / "pytorch.csv"
        path.write_text(conditions + "\n".join([COLUMNS, *self.rows]) + "\n")
        print(f"recorded in {path}; now draw the plots")

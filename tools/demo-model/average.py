"""Averages checkpoints of one run into work/checkpoint.npz: the mean of several ends of a run errs less than each."""

import argparse
import os

import numpy as np

import train


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("checkpoints", nargs="+", help="the last one gives the step and the optimiser's state")
    files = [np.load(name) for name in ap.parse_args().checkpoints]
    last = files[-1]
    mean = {k: np.mean([f[k] for f in files], axis=0, dtype=np.float64).astype(last[k].dtype) for k in last.files if k.startswith("p:")}
    partial = train.STATE.with_suffix(".partial.npz")
    np.savez(partial, **{k: mean.get(k, last[k]) for k in last.files})
    os.replace(partial, train.STATE)


if __name__ == "__main__":
    main()

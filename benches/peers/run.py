#!/usr/bin/env python3
"""Redress beside Restate and DBOS: the same work in one run of this script, the contestants in turn.

    benches/peers/run.py [--steps 300] [--wide-steps 40] [--runs 64] [--rounds 5]

Needs Python 3.10, node 20 with npm, and strace, which counts syncs in rounds of its own. Restate and DBOS are installed into a
temporary folder on the disk of the target folder, where their data lies as well; it is removed at the end.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESTATE = ["@restatedev/restate-server@1.7.12", "@restatedev/restate-sdk@1.17.2"]
DBOS = "dbos==3.4.0"
SYNCS = "fsync,fdatasync,sync_file_range,syncfs,sync,msync"


def strace(log):
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-e", f"trace={SYNCS}"]


def syncs(log):
    text = Path(log).read_text() if Path(log).exists() else ""
    return len(re.findall(rf"^\d+ +(?:{SYNCS.replace(',', '|')})\(", text, re.M))


def last_json(text):
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def run(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Redress:
    name = "Redress"

    def __init__(self, folder):
        told = run(["cargo", "bench", "--bench", "cost", "--no-run", "--message-format=json"], cwd=ROOT)
        found = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        self.binary = [m["executable"] for m in found if m.get("target", {}).get("name") == "cost" and m.get("executable")][-1]

    def drive(self, steps, runs, log=None):
        command = [self.binary, "--contestant", str(steps), str(runs)]
        return last_json(run(strace(log) + command if log else command, cwd=ROOT))

    def close(self):
        pass


class Dbos:
    name = "DBOS on SQLite"

    def __init__(self, folder):
        self.folder = folder
        run([sys.executable, "-m", "venv", str(folder / "venv")])
        run([str(folder / "venv/bin/pip"), "install", "--quiet", DBOS])
        self.count = 0

    def drive(self, steps, runs, log=None):
        self.count += 1
        data = self.folder / f"dbos-{self.count}"
        data.mkdir()
        command = [str(self.folder / "venv/bin/python"), str(HERE / "dbos_steps.py"), str(data), str(steps), str(runs)]
        return last_json(run(strace(log) + command if log else command))

    def close(self):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Restate:
    name = "Restate"

    def __init__(self, folder):
        self.folder = folder
        for file in ["restate.mjs"]:
            shutil.copy(HERE / file, folder)
        run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), *RESTATE])
        self.server = self.service = None
        self.count = 0
        self.start()

    def start(self, log=None):
        self.count += 1
        ingress, admin, node, service = (free_port() for _ in range(4))
        self.ingress = f"http://127.0.0.1:{ingress}"
        environment = dict(
            os.environ,
            RESTATE_BASE_DIR=str(self.folder / f"restate-{self.count}"),
            RESTATE_LOG_FILTER="warn",
            RESTATE_INGRESS__BIND_ADDRESS=f"127.0.0.1:{ingress}",
            RESTATE_ADMIN__BIND_ADDRESS=f"127.0.0.1:{admin}",
            RESTATE_BIND_ADDRESS=f"127.0.0.1:{node}",
            RESTATE_ADVERTISED_ADDRESS=f"http://127.0.0.1:{node}",
            RESTATE_DISABLE_TELEMETRY="true",
            DO_NOT_TRACK="1",
        )
        command = [str(self.folder / "node_modules/.bin/restate-server")]
        self.log = open(self.folder / f"restate-{self.count}.log", "w")
        self.server = subprocess.Popen(
            strace(log) + command if log else command, cwd=self.folder, env=environment,
            stdout=self.log, stderr=self.log, start_new_session=True,
        )
        self.service = subprocess.Popen(
            ["node", "restate.mjs", "serve", str(service)], cwd=self.folder, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )
        body = json.dumps({"uri": f"http://127.0.0.1:{service}"}).encode()
        for attempt in range(240):
            try:
                ask = urllib.request.Request(f"http://127.0.0.1:{admin}/deployments", body, {"content-type": "application/json"})
                urllib.request.urlopen(ask, timeout=10).read()
                return
            except OSError:
                time.sleep(0.5)
        sys.exit(f"restate does not start; see {self.log.name}:\n{Path(self.log.name).read_text()[-3000:]}")

    def stop(self):
        for process in (self.service, self.server):
            if process:
                # The whole group: strace alone would leave what it traces.
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
        self.server = self.service = None

    def drive(self, steps, runs, log=None):
        if log:
            self.stop()
            self.start(log)
        told = run(["node", "restate.mjs", "drive", self.ingress, str(steps), str(runs)], cwd=self.folder)
        return last_json(told)

    def close(self):
        self.stop()


def measure(contestants, steps, runs, rounds, folder):
    told = {one.name: [] for one in contestants}
    for _ in range(rounds):
        for one in contestants:
            told[one.name].append(one.drive(steps, runs))
    for place, one in enumerate(contestants):
        counted = {}
        for label, (n, r) in {"warm": (1, 1), "whole": (steps, runs)}.items():
            log = folder / f"strace-{place}-{runs}-{label}"
            one.drive(n, r, log)
            counted[label] = syncs(log)
        told[one.name + " syncs"] = (counted["whole"] - counted["warm"]) / (steps * runs - 1)
    return told


def table(title, contestants, told):
    print(f"\n{title}\n")
    print("| | steps/s | p50 | p99 | syncs a step | Redress is |")
    print("|---|---|---|---|---|---|")
    median = lambda name, of: statistics.median(of(round) for round in told[name])
    rate = lambda name: median(name, lambda round: round["steps"] / round["seconds"])
    for one in contestants:
        p50, p99 = (median(one.name, lambda round: round[key] / 1000) for key in ("p50_us", "p99_us"))
        ratio = "" if one.name == "Redress" else f"{rate('Redress') / rate(one.name):.1f} x as fast"
        print(f"| {one.name} | {rate(one.name):.0f} | {p50:.2f} ms | {p99:.2f} ms | {told[one.name + ' syncs']:.2f} | {ratio} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--wide-steps", type=int, default=40)
    parser.add_argument("--runs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    disk = ROOT / "target"
    disk.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="peers-", dir=disk) as name:
        folder = Path(name)
        contestants = []
        try:
            for make in (Redress, Restate, Dbos):
                contestants.append(make(folder))
            series = measure(contestants, asked.steps, 1, asked.rounds, folder)
            wide = measure(contestants, asked.wide_steps, asked.runs, asked.rounds, folder)
            table(f"{asked.steps} steps of one run in series, medians of {asked.rounds} rounds", contestants, series)
            table(f"{asked.runs} runs at once of {asked.wide_steps} steps each", contestants, wide)
        finally:
            for one in contestants:
                one.close()


if __name__ == "__main__":
    main()

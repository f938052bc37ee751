"""DBOS's contestant, on SQLite: a workflow of STEPS durable steps that do nothing.

python dbos_steps.py FOLDER STEPS RUNS drives RUNS workflows at once and prints one line of JSON.
"""

import json
import sys
import time

from dbos import DBOS

folder, steps, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
DBOS(
    config={
        "name": "bench",
        "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
)


@DBOS.step()
def nothing() -> None:
    return None


@DBOS.workflow()
def series(count: int) -> list:
    costs = []
    last = time.perf_counter()
    for _ in range(count):
        nothing()
        now = time.perf_counter()
        costs.append((now - last) * 1e6)
        last = now
    return costs


DBOS.launch()
warm = [DBOS.start_workflow(series, 20) for _ in range(2)]
for handle in warm:
    handle.get_result()
print("ready", file=sys.stderr, flush=True)
begun = time.perf_counter()
handles = [DBOS.start_workflow(series, steps) for _ in range(runs)]
costs = sorted(cost for handle in handles for cost in handle.get_result())
seconds = time.perf_counter() - begun
at = lambda share: costs[min(int(share * len(costs)), len(costs) - 1)]
print(json.dumps({"steps": len(costs), "seconds": seconds, "p50_us": at(0.5), "p99_us": at(0.99)}))
DBOS.destroy()

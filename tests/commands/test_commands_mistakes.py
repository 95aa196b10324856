"""What is wrong with a command line is told in one line."""

import json
import subprocess
import sys

import pytest
import tiny_run

MISTAKES = {
    "config.dta.root=x": "no such config field: 'dta'. Did you mean \"data\"",
    "config.optimizer.nme=x": "no such config field: 'nme'. Did you mean",
    "config=configs/byol3d.py:knee": "unknown variant 'knee'; known: demo, mrnet",
    "config=configs/byol.py": "No such file or directory: 'configs/byol.py'",
    "config.command=trian": "command 'trian' is unknown",
    "config.model.name=resnest": (
        "config.model.name: unknown name 'resnest' in models; known: adapter, "
    ),
    "config.method.name=swav": (
        "config.method.base_tau is no setting of swav; known: hidden_size, "
    ),
    "config.optimizer.name=lars": "start from a config that has it: configs/byol3d.py",
    "config.evaluation[0]={}": "a list is stated whole, as Python",
    "config.batch_size=6": "batch_size 6 is not divisible by micro_batch_size 4",
}
MESSAGE_LINES = 2  # "results: FOLDER" and the error

# `python -m medssl_jax.main` for each command, in processes that share the imports
EACH = """
import json, os, runpy, sys
import medssl_jax.commands.train
for said, arguments in json.loads(sys.argv[1]).items():
    if not os.fork():
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(1, 2)
        sys.argv[1:] = arguments
        runpy.run_module("medssl_jax.main", run_name="__main__", alter_sys=True)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, tuple[int, str]]:
    """Return with which status each ends, and what it says."""
    folder = tmp_path_factory.mktemp("mistakes")
    files = {setting: folder / f"{i}.txt" for i, setting in enumerate(MISTAKES)}
    commands = {}
    for setting, said in files.items():
        command = [*tiny_run.arguments(said.with_suffix("")), f"--{setting}"]
        if setting.startswith("config="):
            command = [command[-1], command[1]]
        commands[str(said)] = command
    done = subprocess.run(
        [sys.executable, "-c", EACH, json.dumps(commands)],
        cwd=tiny_run.ROOT,
        env=tiny_run.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    statuses = map(int, done.stdout.split())
    return {
        setting: (status, said.read_text())
        for (setting, said), status in zip(files.items(), statuses, strict=True)
    }


@pytest.mark.parametrize("setting", MISTAKES)
def test_a_mistake_is_told_in_one_line(told, setting):
    status, said = told[setting]
    *_, line = lines = said.splitlines()
    assert line.startswith("error: ") and MISTAKES[setting] in line
    assert status == 1 and len(lines) <= MESSAGE_LINES

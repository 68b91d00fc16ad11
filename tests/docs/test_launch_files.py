"""The launch files are what their readers can read: shells, torchrun, Kubernetes, SkyPilot; and the
commands in them are fledge's own.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.distributed.run import get_args_parser

from fledge.cli.parsing import read_fields, strip_algorithm, validate
from fledge.cli.verbs import VERBS

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "launch"
FILES = sorted(path.name for path in FOLDER.iterdir())
# What a launcher says of itself, so that a variable is not lost on the way to a number.
VALUES = {
    "SLURM_NNODES": "2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8", "JOB_COMPLETION_INDEX": "1", "SLURM_JOB_ID": "7",
    "head": "node-0", "run": "runs/x",
}  # fmt: skip


def read(name: str) -> list[Any]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def script_of(name: str) -> str:
    """The part of a file that a shell reads."""
    if name == "skypilot.yaml":
        return read(name)[0]["run"]
    if name == "kubernetes-job.yaml":
        [container] = read(name)[1]["spec"]["template"]["spec"]["containers"]
        return container["args"][0]
    return (FOLDER / name).read_text()


def fill(text: str) -> str:
    """With the variables in it replaced, by what stands behind `:-` where that is said."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "node-0", text)
    return re.sub(r"\$(\w+)", lambda match: VALUES[match[1]], text)


def test_there_is_a_file_for_each_launcher() -> None:
    assert FILES == [
        "kubernetes-job.yaml", "one-machine.sh", "several-machines.sh", "skypilot.yaml",
        "slurm.sbatch",
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_shell_can_read_it_and_torchrun_its_words(name: str) -> None:
    script = script_of(name)
    checked = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stderr
    [line] = re.findall(r"torchrun (.*?) -m fledge \"\$@\"", script.replace("\\\n", " "), re.DOTALL)
    args = get_args_parser().parse_args([*shlex.split(fill(line)), "-m", "fledge", "pretrain"])
    assert args.training_script == "fledge"
    assert args.module
    assert args.nproc_per_node == "8"
    assert args.nnodes == ("1:1" if args.standalone else "2")


@pytest.mark.parametrize("name", FILES)
def test_its_commands_are_fledges(name: str) -> None:
    commands = re.findall(r"set -- (.*)", script_of(name))
    assert [command.split()[0] for command in commands] == ["resume", "pretrain"]
    for command in commands:
        verb, *words = shlex.split(fill(command))
        given = read_fields(verb, VERBS[verb], words)
        validate(verb, VERBS[verb], strip_algorithm(VERBS[verb].config, given))


def test_slurm_starts_one_task_a_node_that_is_warned_before_the_end() -> None:
    options = re.findall(r"^#SBATCH --([\w-]+)(?:=(.+))?$", script_of("slurm.sbatch"), re.MULTILINE)
    said = dict(options)
    assert said["ntasks-per-node"] == "1"
    assert said["signal"].startswith("TERM@")
    assert "requeue" in said


def test_kubernetes_pods_find_each_other_by_the_service() -> None:
    service, job = read("kubernetes-job.yaml")
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    assert service["spec"]["clusterIP"] == "None"
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    host = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert f"--master-addr {host}" in script_of("kubernetes-job.yaml")
    [container] = pod["containers"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_skypilot_knows_every_field() -> None:
    [task] = read("skypilot.yaml")
    known = {"name", "num_nodes", "resources", "file_mounts", "workdir", "setup", "run", "envs"}
    assert set(task) <= known
    assert re.fullmatch(r"\w+:\d+", task["resources"]["accelerators"])

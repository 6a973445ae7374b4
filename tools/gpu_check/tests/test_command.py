"""The contract of `scripts/gpu-check`: its report, exit codes and times, with a program that plays `glimpse`."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PARTS = [
    "device", "ops", "unet", "parity", "profile", "end_to_end", "cuda_graph", "vae", "taesd", "text", "diffusers",
    "philox", "memory", "batch", "pixels", "lora", "controlnet", "cold_start",
]
# What the program does for each part; $PART is the second argument, or the first if it is not `measure`.
PLAYS = """#!/bin/sh
PART=$1; [ "$PART" = measure ] && PART=$2
case $PART in
BODY
*) echo '{"step_ms": {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}}' ;;
esac
"""


class Contract(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out"
        # Packages that may be installed would want more of the program than it plays.
        for package in ("numpy", "torch", "diffusers"):
            (self.folder / f"{package}.py").write_text(f"raise ImportError('no {package} here')\n")
        self.variables = {**os.environ, "PYTHONPATH": str(self.folder)}

    def play(self, body: str = "") -> None:
        program = self.folder / "glimpse"
        program.write_text(PLAYS.replace("BODY", body))
        program.chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, ROOT / "scripts/gpu-check", "--bin", self.folder, "--out", self.out, *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder, env=self.variables
        )

    def check(self, *arguments: str) -> tuple[int, str]:
        process = self.start("--device", "cpu", "--small", *arguments)
        out, said = process.communicate(timeout=100)
        return process.returncode, out + said

    def report(self) -> dict:
        return json.loads((self.out / "gpu-check.json").read_text())

    def test_every_part_is_a_member_and_a_file_of_its_own(self):
        self.play("unet) echo '{\"step_ms\": 1.5}' ;;")
        code, said = self.check()
        self.assertEqual(code, 0, said)
        report = self.report()
        self.assertEqual(list(report), [*PARTS, "run"])
        self.assertEqual(report["unet"], {"step_ms": 1.5})
        for part in PARTS:
            self.assertEqual(json.loads((self.out / f"{part}.json").read_text()), report[part], part)
            self.assertTrue(any(line.startswith(part) for line in said.splitlines()), said)
        self.assertEqual(list(self.out.glob("*.part")), [])

    def test_what_cannot_run_here_is_skipped_with_the_reason(self):
        self.play("vae) echo 'glimpse: device cuda:9: there is none' >&2; exit 2 ;;")
        code, said = self.check()
        self.assertEqual(code, 0, said)
        self.assertEqual(self.report()["vae"], {"skipped": "device cuda:9: there is none"})
        self.assertIn("no torch here", self.report()["philox"]["skipped"])
        self.assertEqual(self.report()["profile"], {"skipped": "a CPU runs no kernels"})

    def test_what_is_wrong_or_slower_is_switched_off_for_the_other_parts(self):
        rows = [{"op": "conv2d", "used": "portable"}, {"op": "geglu", "used": "own"}, {"op": "finite", "used": "portable"}]
        self.play(
            f"doctor) echo '{json.dumps({'ops': rows})}' ;;\n"
            "vae) echo \"{\\\"off\\\": \\\"$GLIMPSE_PORTABLE_OPS\\\"}\" ;;"
        )
        code, said = self.check()
        self.assertEqual(code, 0, said)
        self.assertEqual(self.report()["vae"], {"off": "conv2d,finite"})

    def test_on_a_device_that_is_not_here_nothing_else_is_tried(self):
        self.play("device) echo 'glimpse: device cuda:0: no driver' >&2; exit 2 ;;\n*) exit 1 ;;")
        code, said = self.check()
        self.assertEqual(code, 0, said)
        report = self.report()
        self.assertEqual([report[part] for part in PARTS], [{"skipped": "device cuda:0: no driver"}] * len(PARTS))

    def test_a_program_that_does_not_know_its_arguments_is_a_failure(self):
        self.play("vae) echo \"error: unexpected argument '--small' found\" >&2; echo 'Usage: x' >&2; exit 2 ;;")
        code, said = self.check()
        self.assertEqual(code, 1, said)
        self.assertEqual(self.report()["vae"]["failed"], "exit code 2: unexpected argument '--small' found")

    def test_a_part_that_fails_or_dies_leaves_the_others_alone(self):
        self.play("taesd) echo '{\"a_ms\": 1}'; echo 'glimpse: no' >&2; exit 1 ;;\ntext) kill -9 $$ ;;\nbatch) ;;")
        code, said = self.check()
        self.assertEqual(code, 1, said)
        report = self.report()
        self.assertEqual((report["taesd"]["failed"], report["taesd"]["a_ms"]), ("exit code 1: no", 1))
        self.assertEqual(report["text"]["failed"], "ended by signal 9: it did not say why")
        self.assertEqual(report["batch"]["failed"], "printed no result")
        self.assertIn("step_ms", report["pixels"])

    def test_a_part_that_takes_too_long_is_ended_and_its_last_figures_count(self):
        # A tenth of the usual time.
        self.play("unet) sleep 60 & wait ;;\nvae) echo '{\"a_ms\": 1}'; echo '{\"a_ms\": 2}'; sleep 60 ;;")
        code, said = self.check("--minutes", "0.8")
        self.assertEqual(code, 1, said)
        report = self.report()
        self.assertEqual(report["unet"]["failed"], "did not end within 6 s")
        self.assertEqual(report["vae"], {"cut_off": "did not end within 4 s", "a_ms": 2})
        self.assertIn("step_ms", report["taesd"])

    def test_when_all_time_is_over_the_rest_is_skipped(self):
        self.play("*) sleep 60 ;;")
        code, said = self.check("--minutes", "0.02")
        self.assertEqual(code, 1, said)
        self.assertIn("no time was left", self.report()["lora"]["skipped"])

    def test_a_signal_ends_it_and_the_report_tells_what_is_known(self):
        self.play("unet) sleep 60 ;;")
        process = self.start("--device", "cpu", "--small")
        for line in process.stderr:
            if line.startswith("unet"):
                break
        # The part has not begun at once; whenever the signal comes, the report is whole.
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 143, out + said)
        report = self.report()
        self.assertIn("step_ms", report["device"])
        self.assertEqual(report["vae"], {"skipped": "it was not reached"})

    def test_wrong_arguments_end_with_2_and_say_what_is_wrong(self):
        self.play()
        for arguments, word in [
            (["--device", "gpu"], "--device gpu"),
            (["--minutes", "0"], "--minutes 0"),
            (["--minutes", "many"], "--minutes"),
            (["--what"], "--what"),
            (["--bin", "/nowhere"], "/nowhere"),
            (["--wheels", "/nowhere"], "/nowhere"),
            (["--out", "/dev/null/out"], "/dev/null"),
        ]:
            process = self.start(*arguments)
            out, said = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 2, f"{arguments}: {out}{said}")
            self.assertIn(word, said, arguments)
            self.assertNotIn("Traceback", said, arguments)

    def test_packages_come_from_wheels(self):
        wheels = self.folder / "wheels"
        wheels.mkdir()
        (self.folder / "torch.py").unlink()
        with zipfile.ZipFile(wheels / "torch-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("torch.py", "raise ImportError('torch of the wheel')")
        self.play()
        code, said = self.check("--wheels", str(wheels))
        self.assertEqual(code, 0, said)
        self.assertIn("torch of the wheel", self.report()["philox"]["skipped"])

    def test_results_of_an_earlier_run_do_not_stay(self):
        self.out.mkdir()
        (self.out / "lora.json").write_text("{}")
        self.play("device) sleep 60 ;;")
        process = self.start("--device", "cpu", "--small")
        deadline = time.monotonic() + 60
        while (self.out / "lora.json").exists() and time.monotonic() < deadline:
            os.sched_yield()
        process.terminate()
        process.communicate(timeout=60)
        self.assertFalse((self.out / "lora.json").exists())


if __name__ == "__main__":
    unittest.main()

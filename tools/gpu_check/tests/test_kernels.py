"""The sums of a profile, on records of a step whose times are known."""

import unittest

from gpu_check.kernels import occupied, read, summary

# Two streams: b runs beside a, and then nothing for 8 us.
RECORDS = """kernel\t1000\t5000\t7\tconv
call\t500\t900\t1\tcuLaunchKernel
kernel\t2000\t6000\t8\tnorm
copy\t14000\t15000\t7\tcopy to the host
kernel\t15500\t19500\t7\tconv
kernel\t30000\t31000\t7\tof the next step
call\t700\t1200\t1\tcudaLaunchKernel
kernel\t1
"""


class Summary(unittest.TestCase):
    def setUp(self):
        self.records = read(RECORDS.splitlines(keepends=True))
        self.summary = summary(self.records, 400, 20400)

    def test_a_line_that_was_cut_off_is_left_out(self):
        self.assertEqual(len(self.records), 7)

    def test_what_runs_at_once_is_busy_once(self):
        self.assertEqual(self.summary["step_ms"], 0.02)
        self.assertEqual(self.summary["busy_ms"], 0.01)
        self.assertEqual(self.summary["host"]["in_cuda_ms"], 0.0007)

    def test_gaps_are_where_no_stream_works(self):
        self.assertEqual(self.summary["gaps"], {"total_ms": 0.0085, "longest_us": 8.0, "above_5_us": 1})
        self.assertEqual(self.summary["before_first_kernel_ms"], 0.0006)
        self.assertEqual(self.summary["after_last_kernel_ms"], 0.0009)

    def test_kernels_are_of_this_step_and_the_dearest_is_first(self):
        self.assertEqual(self.summary["kernel_launches"], 3)
        names = [(kernel["name"], kernel["ms"], kernel["n"]) for kernel in self.summary["kernels"]]
        self.assertEqual(names, [("conv", 0.008, 2), ("norm", 0.004, 1)])
        self.assertAlmostEqual(self.summary["kernels"][0]["share"], 8 / 13, places=4)

    def test_a_step_without_kernels_is_a_failure(self):
        self.assertIn("no kernel ran", summary(self.records, 40000, 50000)["failed"])

    def test_nothing_is_never_busy(self):
        self.assertEqual(occupied([]), (0, []))


if __name__ == "__main__":
    unittest.main()

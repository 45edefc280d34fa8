"""The tasks: a folder per language class or skill, a file per task."""

from eval_harness.tasks.context_free.reverse import Reverse
from eval_harness.tasks.context_sensitive.binary_addition import BinaryAddition
from eval_harness.tasks.context_sensitive.bucket_sort import BucketSort
from eval_harness.tasks.context_sensitive.duplicate import Duplicate
from eval_harness.tasks.counting.majority import Majority
from eval_harness.tasks.memory.flip_flop import FlipFlop
from eval_harness.tasks.regular.cycle_navigation import CycleNavigation
from eval_harness.tasks.regular.even_pairs import EvenPairs
from eval_harness.tasks.regular.parity import Parity
from eval_harness.tasks.task import Answer, Sample, Task, get_task, list_tasks, register_task


__all__ = [
    "Answer",
    "BinaryAddition",
    "BucketSort",
    "CycleNavigation",
    "Duplicate",
    "EvenPairs",
    "FlipFlop",
    "Majority",
    "Parity",
    "Reverse",
    "Sample",
    "Task",
    "get_task",
    "list_tasks",
    "register_task",
]

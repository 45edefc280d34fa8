"""The releases that the models are tested with; every saved configuration states them.

SPDX-License-Identifier: Apache-2.0
"""

TESTED_WITH: dict[str, list[str]] = {
    "transformers": ["5.17.0", "5.23.0", "5.24.0"],
    "huggingface_hub": ["1.5.0", "2.4.0"],
    "torch": ["2.13.0"],
}

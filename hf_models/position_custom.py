"""Position encodings from files that are saved beside the model.

Empty in the package; `save_pretrained` writes one that knows the user's files, so that they load with the model.

SPDX-License-Identifier: Apache-2.0
"""

CUSTOM_ENCODINGS: dict[str, type] = {}

"""Plain forms of the encodings that add to the scores what the ids alone say."""

import torch

from tests.hf_models import references
from tests.hf_models.plain_encoding import PlainEncoding


class PlainALiBi(PlainEncoding):
    """Press et al. 2022."""

    def bias(self, head, query_id, key_id):
        slope = references.alibi_slopes(self.config.num_attention_heads)[head]
        return references.alibi(slope, query_id, key_id, self.encoding.form)


class PlainT5(PlainEncoding):
    """Raffel et al. 2020."""

    def bias(self, head, query_id, key_id):
        return self.encoding.table.weight[references.t5_bucket(query_id, key_id, self.config.is_causal), head]


class PlainFIRE(PlainEncoding):
    """Li et al. 2024, section 3, with the sign of the distance."""

    def bias(self, head, query_id, key_id):
        e = self.encoding

        def psi(x):
            return torch.log((e.scale * x).abs() + 1)

        sign = 1 if key_id <= query_id else -1
        farthest = torch.maximum((e.threshold_factor * e.threshold).abs(), torch.tensor(float(max(query_id, key_id))))
        share = sign * psi(abs(query_id - key_id)) / psi(farthest)
        hidden = (e.network[0].weight[:, 0] * share + e.network[0].bias).clamp(min=0)
        return e.network[2].weight[head] @ hidden + e.network[2].bias[head]

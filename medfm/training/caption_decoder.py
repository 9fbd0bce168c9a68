"""A small decoder that writes the text of a picture: CoCa's second task, used in training only.

Yu et al., CoCa: Contrastive Captioners are Image-Text Foundation Models (TMLR 2022). There the
decoder is the upper half of the text tower; here it has an embedding of its own, so that the
encoder that is saved is a CLIP network like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CaptionDecoder(nn.Module):
    """Text tokens look backwards at each other and across at the patches of the picture.

    Args:
        vocabulary: Number of tokens.
        width: Of the decoder and of the patch tokens.
        heads: Of its attention.
        layers: How many.
        source: CPU generator the first weights are drawn from.
        positions: Longest text in tokens.
    """

    def __init__(
        self, vocabulary: int, width: int, heads: int, layers: int, source: torch.Generator, positions: int = 512
    ) -> None:
        super().__init__()
        with torch.device("meta"):
            self.table = nn.Embedding(vocabulary, width)
            self.places = nn.Embedding(positions, width)
            layer = nn.TransformerDecoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            self.blocks = nn.TransformerDecoder(layer, layers, nn.LayerNorm(width))
        self.to_empty(device="cpu")
        for name, tensor in self.named_parameters():
            with torch.no_grad():
                if tensor.ndim > 1:
                    tensor.normal_(std=0.02, generator=source)
                else:
                    tensor.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)

    def predictions(self, patches: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, tokens - 1, vocabulary) of every next token, and the labels, 0 where there is none.

        Args:
            patches: (n, places, width).
            ids: int64 (n, tokens).
            mask: int64 (n, tokens), 0 at padding.
        """
        given, length = ids[:, :-1], ids.shape[1] - 1
        states = self.table(given) + self.places(torch.arange(length, device=ids.device))
        causal = torch.full((length, length), float("-inf"), device=ids.device).triu(1)
        states = self.blocks(states, patches, tgt_mask=causal)
        # The table also reads the tokens out, as in BERT and GPT.
        return states @ self.table.weight.T, ids[:, 1:] * mask[:, 1:]

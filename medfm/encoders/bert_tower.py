"""A BERT text tower without published weights of its own: they come with the checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from medfm.encoders.bert_args import BertArgs


def build_bert(args: BertArgs, pooler: bool = True) -> Any:
    """An unfilled ``transformers.BertModel``, with pooler unless told otherwise, on the current default device."""
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    config = BertConfig(
        vocab_size=args.vocabulary,
        hidden_size=args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        intermediate_size=args.feed_forward,
        max_position_embeddings=args.positions,
    )
    return BertModel(config, add_pooling_layer=pooler)


def real_buffers(bert: Any) -> None:
    """Give the buffers that no checkpoint holds their values, on the CPU.

    A network made on the meta device and filled by assignment would keep them empty.
    """
    embeddings = bert.embeddings
    positions = bert.config.max_position_embeddings
    embeddings.register_buffer("position_ids", torch.arange(positions).expand(1, -1).clone(), persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, positions, dtype=torch.long), persistent=False)


def pooled_text(bert: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """BERT's pooler output (n, width): dense layer and tanh on the first token.

    Args:
        bert: The tower.
        ids: int64 (n, tokens).
        mask: int64 (n, tokens), 0 at padding.
    """
    output: torch.Tensor = bert(input_ids=ids, attention_mask=mask).pooler_output
    return output


def last_states(bert: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The last layer's states (n, tokens, width); arguments as in :func:`pooled_text`."""
    output: torch.Tensor = bert(input_ids=ids, attention_mask=mask).last_hidden_state
    return output


def states_of_layers(
    bert: Any, ids: torch.Tensor, mask: torch.Tensor, layers: tuple[int, ...]
) -> tuple[torch.Tensor, ...]:
    """States (n, tokens, width) behind the layers asked for; 0 is the embedding, -1 the last layer."""
    states = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    return tuple(states[layer] for layer in layers)

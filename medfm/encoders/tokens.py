"""Turning texts into the word pieces of a text tower, from files on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfm.core.errors import ConfigError, OfflineError, WeightsError
from medfm.core.offline import is_offline
from medfm.encoders.card_schema import TextSpec
from medfm.encoders.tokens_bpe import ClipTokenizer
from medfm.encoders.weights import weights_folder

if TYPE_CHECKING:
    import torch

    from medfm.encoders.card import Card

FILES = ("vocab.txt", "tokenizer.json")


class TextTokenizer:
    """BERT word pieces with special tokens, cut off at the card's limit, padded to the longest text.

    Looked for, in this order: ``vocab.txt`` or ``tokenizer.json`` in ``tokenizer`` beside the card
    (where ``medfm pretrain`` puts it), in ``WEIGHTS/ENCODER-ID/tokenizer``, in
    ``WEIGHTS/OWNER--REPOSITORY``, and in the hub's cache; only then, unless offline, ``vocab.txt``
    is downloaded.

    Args:
        spec: The card's text block.
        encoder_id: For the folder and for messages.
        vocabulary: Number of word pieces that the tower knows.
        beside: Folder of the card.
    """

    def __init__(self, spec: TextSpec, encoder_id: str, vocabulary: int, beside: Path | None = None) -> None:
        self.beside = beside
        self.spec = spec
        self.encoder_id = encoder_id
        self.vocabulary = vocabulary
        self._failed: WeightsError | None = None  # one attempt: the hub's client tries for half a minute

    def folders(self) -> list[Path]:
        """Where the files are looked for, apart from the hub's own cache."""
        base = weights_folder()
        places = [base / self.encoder_id / "tokenizer"]
        if self.beside is not None:
            places.insert(0, self.beside / "tokenizer")
        if self.spec.tokenizer is not None:
            places.append(base / self.spec.tokenizer.replace("/", "--"))
        return places

    def encode(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, int64 (n, tokens); at least one text."""
        import torch

        rows = [row[: self.spec.max_tokens - 1] + row[-1:] if self._long(row) else row for row in self._rows(texts)]
        length = max(len(row) for row in rows)
        pad = self._tokenizer.token_to_id("[PAD]")
        ids = torch.full((len(rows), length), pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return ids, mask

    @property
    def present(self) -> bool:
        """Whether the vocabulary is on this machine."""
        return self._here() is not None

    @property
    def wanted(self) -> str:
        """Which file is needed, and where."""
        if self.spec.tokenizer is None:
            return f"tokenizer.json as 'medfm pretrain' writes it, in {self.folders()[0]}"
        # Beside the card only a trained folder has its files; the folder of the shipped cards is not for users.
        folder = weights_folder() / self.encoder_id / "tokenizer"
        return f"vocab.txt (or tokenizer.json) of {self.spec.tokenizer} on the hub, in {folder}"

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, special ones included, before anything is cut off."""
        return self._rows(texts)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of every text before anything is cut off, special tokens counted."""
        return [len(row) for row in self._rows(texts)]

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens))

    def _long(self, row: list[int]) -> bool:
        return len(row) > self.spec.max_tokens

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ConfigError("Texts were not given as a list.", expected='a list of texts, such as ["sinus rhythm"]')
        given = [text.lower() for text in texts] if self.spec.lower_case else list(texts)
        return [encoding.ids for encoding in self._tokenizer.encode_batch(given)]

    @cached_property
    def _tokenizer(self) -> Any:
        file = self.locate()
        try:
            tokenizer = _read(file, self.spec.lower_case)
        except Exception as error:  # the library raises bare Exceptions for damaged files
            raise WeightsError("The tokenizer cannot be read.", where=str(file), fix="get the file again") from error
        lacking = [token for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]") if tokenizer.token_to_id(token) is None]
        if lacking or tokenizer.get_vocab_size() > self.vocabulary:
            problem = f"lacks {', '.join(lacking)}" if lacking else f"has {tokenizer.get_vocab_size():,} word pieces"
            raise WeightsError(
                f"The tokenizer {problem}: it is not that of '{self.encoder_id}'.",
                where=str(file),
                expected=f"the vocabulary of {self.spec.tokenizer or 'the card'}, at most {self.vocabulary:,} word pieces",
            )
        return tokenizer

    def _here(self) -> Path | None:
        for folder in self.folders():
            for name in FILES:
                if (folder / name).is_file():
                    return folder / name
        if self.spec.tokenizer is None:
            return None
        from huggingface_hub import try_to_load_from_cache

        for name in FILES:
            hit = try_to_load_from_cache(self.spec.tokenizer, name, revision=self.spec.revision)
            if isinstance(hit, str):
                return Path(hit)
        return None

    def locate(self) -> Path:
        """The tokenizer file, see the class; raises where there is none."""
        here = self._here()
        if here is not None:
            return here
        if self.spec.tokenizer is None:
            raise WeightsError(
                f"'{self.encoder_id}' has no tokenizer yet: its word pieces are made from the reports it is trained on.",
                where=str(self.folders()[0]),
                fix="load the folder that 'medfm pretrain' has written (weights='random' there for the untrained one)",
            )
        if is_offline():
            raise OfflineError(
                f"The tokenizer of '{self.encoder_id}' is not on this machine, and MEDFM_OFFLINE or HF_HUB_OFFLINE "
                "forbids downloads.",
                expected=self.wanted,
                fix="put the file there; the weights of the text tower come with the checkpoint and need no other file",
            )
        if self._failed is not None:
            raise self._failed
        from huggingface_hub import hf_hub_download

        try:
            return Path(hf_hub_download(self.spec.tokenizer, FILES[0], revision=self.spec.revision))
        except Exception as error:  # the hub client raises a dozen unrelated kinds; the cause is kept
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            self._failed = WeightsError(
                f"The download of the tokenizer failed: {reason}",
                expected=self.wanted,
                fix="get the file by hand and put it there, or try again with a connection",
            )
            raise self._failed from error


def _read(file: Path, lower_case: bool) -> Any:
    if file.name == "tokenizer.json":
        from tokenizers import Tokenizer

        tokenizer: Any = Tokenizer.from_file(str(file))
        # The file may bring its own limit and padding; the card's count.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    from tokenizers import BertWordPieceTokenizer

    return BertWordPieceTokenizer(str(file), lowercase=lower_case)


class SingleTexts:
    """A tokenizer with Hugging Face's words, one text at a time, for looking at what reaches the tower.

    Args:
        tokenizer: The text tower's.
    """

    def __init__(self, tokenizer: TextTokenizer | ClipTokenizer) -> None:
        self._own = tokenizer
        self.max_tokens = tokenizer.spec.max_tokens

    def encode(self, text: str, *, truncation: bool = False, max_length: int | None = None) -> list[int]:
        """Token ids, special ones included; cut off as the tower's input is."""
        if not truncation:
            return list(self._own._rows([text])[0])
        return [int(i) for i in self._own.encode([text])[0][0]][:max_length]

    def decode(self, token_ids: Any, *, skip_special_tokens: bool = True) -> str:
        """The text of token ids."""
        return self._own.decode(list(token_ids), skip_special_tokens=skip_special_tokens)


def tokenizer_of_card(card: Card) -> TextTokenizer | ClipTokenizer | None:
    """The tokenizer of a card's text tower, without its weights; ``None`` where it has no tower."""
    from medfm.encoders.families import family_args

    spec = card.spec.architecture
    text = getattr(family_args(spec.family, spec.args, str(card.path)), "text", None)
    if card.spec.text is None or text is None:
        return None
    if card.spec.text.kind == "clip_bpe":
        return ClipTokenizer(card.spec.text, card.id, text.vocabulary)
    return TextTokenizer(card.spec.text, card.id, text.vocabulary, card.folder)
